//! Where there is no splice(2), everything is copied.

use std::{convert::Infallible, io, marker::PhantomData};

use super::socket::Socket;

/// A share in nothing.
#[derive(Debug)]
pub(super) struct Share<'a>(PhantomData<&'a ()>);

/// There is none.
#[derive(Debug)]
pub(super) struct Splice<'a>(Infallible, PhantomData<&'a ()>);

impl Share<'_> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }

    pub(super) const fn take(&self) -> Option<Splice<'_>> {
        None
    }
}

impl Splice<'_> {
    pub(super) const fn held(&self) -> usize {
        match self.0 {}
    }

    pub(super) const fn fill(&mut self, _from: &impl Socket) -> io::Result<usize> {
        match self.0 {}
    }

    pub(super) const fn drain(&mut self, _to: &impl Socket) -> io::Result<usize> {
        match self.0 {}
    }
}
