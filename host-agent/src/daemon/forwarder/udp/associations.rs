//! Which clients of a UDP listener have an association, and which of them have been silent for long.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// The associations of a listener, by the address of their client. `A` is what leads to one;
/// dropping it ends it.
#[derive(Debug)]
pub(super) struct Associations<A> {
    entries: HashMap<SocketAddr, Association<A>>,
    most: usize,
    idle: Duration,
    numbers: u64,
    /// No association expires before.
    next_expiry: Option<Instant>,
}

#[derive(Debug)]
struct Association<A> {
    number: u64,
    way: A,
    last_used: Instant,
}

impl<A> Associations<A> {
    /// At most `most` of them, each until it is silent for `idle`.
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            most,
            idle,
            numbers: 0,
            next_expiry: None,
        }
    }

    /// A datagram came from `client`: the way to its association, which `begin` makes if there is
    /// none, given its number. One too many ends the one that has been silent the longest.
    pub(super) fn admit(
        &mut self,
        client: SocketAddr,
        now: Instant,
        begin: impl FnOnce(u64) -> A,
    ) -> &A {
        if self.entries.len() >= self.most && !self.entries.contains_key(&client) {
            self.evict();
        }
        self.next_expiry.get_or_insert(now + self.idle);
        match self.entries.entry(client) {
            Entry::Occupied(entry) => {
                let known = entry.into_mut();
                known.last_used = now;
                &known.way
            }
            Entry::Vacant(entry) => {
                self.numbers += 1;
                let number = self.numbers;
                let association = Association {
                    number,
                    way: begin(number),
                    last_used: now,
                };
                &entry.insert(association).way
            }
        }
    }

    /// A datagram went to `client` through the association of this number.
    pub(super) fn touch(&mut self, client: SocketAddr, number: u64, now: Instant) {
        if let Some(known) = self.entries.get_mut(&client)
            && known.number == number
        {
            known.last_used = now;
        }
    }

    /// The association of this number has ended by itself.
    pub(super) fn remove(&mut self, client: SocketAddr, number: u64) {
        if let Entry::Occupied(entry) = self.entries.entry(client)
            && entry.get().number == number
        {
            entry.remove();
        }
    }

    /// Ends those that have been silent for long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.next_expiry.is_none_or(|next| now < next) {
            return;
        }
        let idle = self.idle;
        self.entries
            .retain(|_, association| now < association.last_used + idle);
        let oldest = self.entries.values().map(|one| one.last_used).min();
        self.next_expiry = oldest.map(|last_used| last_used + idle);
    }

    /// When to call [`expire`](Self::expire) next; none while there is no association.
    pub(super) const fn next_expiry(&self) -> Option<Instant> {
        self.next_expiry
    }

    fn evict(&mut self) {
        let oldest = self
            .entries
            .iter()
            .min_by_key(|(_, association)| (association.last_used, association.number))
            .map(|(&client, _)| client);
        if let Some(client) = oldest {
            self.entries.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::{Rc, Weak};

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    /// Three associations at most, on a clock of the test's own.
    struct Bench {
        all: Associations<Rc<u64>>,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                all: Associations::new(3, IDLE),
                start: Instant::now(),
            }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn admit(&mut self, port: u16, seconds: u64) -> Weak<u64> {
            let now = self.at(seconds);
            Rc::downgrade(self.all.admit(client(port), now, Rc::new))
        }

        fn expire(&mut self, seconds: u64) {
            self.all.expire(self.at(seconds));
        }
    }

    fn client(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn lives(association: &Weak<u64>) -> bool {
        association.strong_count() > 0
    }

    #[test]
    fn each_client_has_an_association_until_it_is_silent_for_long() {
        let mut bench = Bench::new();
        assert_eq!(bench.all.next_expiry(), None);
        let (one, other) = (bench.admit(1, 0), bench.admit(2, 30));
        assert!(Weak::ptr_eq(&one, &bench.admit(1, 20)), "the same again");
        assert_eq!(bench.all.next_expiry(), Some(bench.at(60)));
        bench.expire(60);
        assert!(lives(&one) && lives(&other));
        assert_eq!(bench.all.next_expiry(), Some(bench.at(80)));
        bench.expire(79);
        assert!(lives(&one));
        bench.expire(80);
        assert!(!lives(&one) && lives(&other));
        bench.expire(90);
        assert!(!lives(&other));
        assert_eq!(bench.all.next_expiry(), None);
        assert!(!Weak::ptr_eq(&one, &bench.admit(1, 91)), "a new one");
    }

    #[test]
    fn what_the_target_sends_keeps_an_association_too() {
        let mut bench = Bench::new();
        let one = bench.admit(1, 0);
        let number = *one.upgrade().unwrap();
        bench.all.touch(client(1), number, bench.at(50));
        bench.all.touch(client(9), number, bench.at(50));
        bench.expire(60);
        assert!(lives(&one));
        bench.expire(110);
        assert!(!lives(&one));
    }

    #[test]
    fn one_too_many_ends_the_one_that_was_silent_the_longest() {
        let mut bench = Bench::new();
        let known: Vec<_> = (1..=3).map(|port| bench.admit(port, 1)).collect();
        bench.admit(1, 2);
        assert!(
            known.iter().all(lives),
            "a known client is not one too many"
        );
        let next = bench.admit(4, 3);
        assert!(lives(&known[0]) && !lives(&known[1]) && lives(&known[2]) && lives(&next));
        for port in 5..1000 {
            bench.admit(port, u64::from(port));
            assert_eq!(bench.all.entries.len(), 3);
        }
    }

    #[test]
    fn the_end_of_an_association_is_not_that_of_its_successor() {
        let mut bench = Bench::new();
        let first = *bench.admit(1, 0).upgrade().unwrap();
        bench.all.remove(client(1), first);
        let second = bench.admit(1, 1);
        bench.all.remove(client(1), first);
        bench.all.touch(client(1), first, bench.at(50));
        assert!(lives(&second));
        bench.expire(61);
        assert!(!lives(&second), "the first one's traffic is not its");
    }
}
