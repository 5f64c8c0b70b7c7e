//! A carrier that takes one slice at a time, or not too much at once.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Joins what is written at once into one write of at most so many bytes. For carriers that know no
/// vectored writes, where each small frame would be a write of its own, and for those that lose
/// large ones.
#[derive(Debug)]
pub struct Whole<C> {
    carrier: C,
    joined: Box<[u8]>,
}

impl<C> Whole<C> {
    /// Writes to `carrier` at most `size` bytes at once.
    #[must_use]
    pub fn new(carrier: C, size: usize) -> Self {
        Self {
            carrier,
            joined: vec![0; size].into(),
        }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Whole<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_read(context, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Whole<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let size = bytes.len().min(self.joined.len());
        Pin::new(&mut self.carrier).poll_write(context, &bytes[..size])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { carrier, joined } = &mut *self;
        let mut filled = 0;
        for slice in slices {
            let count = slice.len().min(joined.len() - filled);
            joined[filled..filled + count].copy_from_slice(&slice[..count]);
            filled += count;
        }
        Pin::new(carrier).poll_write(context, &joined[..filled])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Notes the length of each write.
    #[derive(Debug, Default)]
    struct Writes {
        lengths: Vec<usize>,
        bytes: Vec<u8>,
    }

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.lengths.push(bytes.len());
            self.bytes.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn slices_become_one_write_and_none_is_too_long() {
        let mut whole = Whole::new(Writes::default(), 16);
        let slices = [&b"header"[..], b"", b"body", b"and much more"].map(IoSlice::new);
        let count =
            poll_fn(|context| Pin::new(&mut whole).poll_write_vectored(context, &slices)).await;
        assert_eq!(count.unwrap(), 16);
        let long = [7; 100];
        let count = poll_fn(|context| Pin::new(&mut whole).poll_write(context, &long)).await;
        assert_eq!(count.unwrap(), 16);
        assert_eq!(whole.carrier.lengths, [16, 16]);
        assert_eq!(&whole.carrier.bytes[..16], b"headerbodyand mu");
    }
}
