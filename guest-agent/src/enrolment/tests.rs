use std::sync::Arc;

use lkc_protocol::{
    identity::Identity,
    link::{self, ConnectError, Encrypt, EnrolError, LinkOptions, Locality, RequestError},
    message::Info,
    session::Limits,
};
use tokio::io::DuplexStream;

use super::*;

struct Bench {
    _dir: tempfile::TempDir,
    enrolment: Enrolment,
    guest: Arc<Identity>,
    host: Arc<Identity>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args = EnrolmentArgs {
            state_dir: dir.path().join("state"),
            runtime_dir: dir.path().join("run"),
        };
        Self {
            enrolment: Enrolment::new(&args),
            guest: Arc::new(Identity::generate().unwrap()),
            host: Arc::new(Identity::generate().unwrap()),
            _dir: dir,
        }
    }

    /// The guest's end of a carrier.
    async fn guest(&self, carrier: DuplexStream, token: &Token, guest: &Arc<Identity>) {
        let key = token.identity().unwrap().public_key();
        let accepted = link::accept(carrier, &[key], &options(guest)).await;
        if let Ok((link, incoming, driver)) = accepted {
            let cancel = CancellationToken::new();
            serve(link, incoming, driver, &self.enrolment, token, cancel).await;
        }
    }

    /// Enrols over a carrier of its own: the guest waits with one token, the host has another.
    async fn enrol(&self, waits: &Token, has: &Token) -> Result<PublicKey, EnrolError> {
        let (near, far) = tokio::io::duplex(4096);
        let options = options(&self.host);
        let host = link::enrol(near, has, &options);
        tokio::join!(host, self.guest(far, waits, &self.guest)).0
    }
}

fn options(identity: &Arc<Identity>) -> LinkOptions {
    LinkOptions {
        identity: Arc::clone(identity),
        version: "0.1.0".to_owned(),
        node: "laptop".to_owned(),
        boot_id: [1; 16],
        encrypt: Encrypt::Auto,
        locality: Locality::Local,
        limits: Limits::default(),
    }
}

#[tokio::test]
async fn a_token_lets_one_host_in_once() {
    let bench = Bench::new();
    assert!(bench.enrolment.waiting().is_none());
    let token = bench.enrolment.offer(LONGEST_WAIT).unwrap();
    assert_eq!(bench.enrolment.waiting().as_ref(), Some(&token));
    let guest = bench.enrol(&token, &token).await.unwrap();
    assert_eq!(guest, bench.guest.public_key());
    assert_eq!(bench.enrolment.hosts(), [bench.host.public_key()]);
    assert!(bench.enrolment.waiting().is_none());

    let again = bench.enrol(&token, &token).await.unwrap_err();
    let EnrolError::Request(RequestError::Refused(refusal)) = again else {
        panic!("{again}");
    };
    assert_eq!(refusal.text, "the token is used up or has expired");
    assert_eq!(bench.enrolment.hosts(), [bench.host.public_key()]);
}

#[tokio::test]
async fn a_later_token_is_the_only_one() {
    let bench = Bench::new();
    let earlier = bench.enrolment.offer(LONGEST_WAIT).unwrap();
    let later = bench.enrolment.offer(LONGEST_WAIT).unwrap();
    assert!(bench.enrol(&earlier, &earlier).await.is_err());
    assert!(bench.enrol(&later, &earlier).await.is_err());
    bench.enrol(&later, &later).await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_not_the_guests_opens_nothing() {
    let bench = Bench::new();
    let token = bench.enrolment.offer(LONGEST_WAIT).unwrap();
    let other = Token::generate().unwrap();
    let refused = bench.enrol(&token, &other).await.unwrap_err();
    assert!(matches!(refused, EnrolError::TokenRefused), "{refused:?}");
    assert_eq!(
        bench.enrolment.waiting(),
        Some(token),
        "a wrong guess used it up"
    );
    assert!(bench.enrolment.hosts().is_empty());
}

#[tokio::test]
async fn a_token_is_not_good_for_ever() {
    let bench = Bench::new();
    let token = bench.enrolment.offer(Duration::ZERO).unwrap();
    assert!(bench.enrolment.waiting().is_none());
    assert!(bench.enrol(&token, &token).await.is_err());
    assert!(bench.enrolment.hosts().is_empty());
}

/// Somebody in the middle who knows nothing of the token takes the host in and passes on all that it
/// can: a proof that the guest makes for another session.
#[tokio::test]
async fn somebody_in_the_middle_is_not_taken_for_the_guest() {
    let bench = Bench::new();
    let token = bench.enrolment.offer(LONGEST_WAIT).unwrap();
    let middle = Arc::new(Identity::generate().unwrap());
    let (near, far) = tokio::io::duplex(4096);
    let pretend = async {
        let key = token.identity().unwrap().public_key();
        let accepted = link::accept(far, &[key], &options(&middle)).await;
        let (link, mut incoming, driver) = accepted.unwrap();
        let mut driving = JoinSet::new();
        driving.spawn(driver.run());
        let request = incoming.next().await.unwrap();
        let proof = token.proof(&[7; 32]);
        request.answer::<Enrol>(&Enrolled { proof });
        link.closed().await;
    };
    let options = options(&bench.host);
    let (enrolled, ()) = tokio::join!(link::enrol(near, &token, &options), pretend);
    let Err(EnrolError::NotTheGuest { found }) = enrolled else {
        panic!("{enrolled:?}");
    };
    assert_eq!(found, middle.public_key());
}

#[tokio::test]
async fn the_tokens_key_opens_nothing_but_the_enrolment() {
    let bench = Bench::new();
    let token = bench.enrolment.offer(LONGEST_WAIT).unwrap();
    let (near, far) = tokio::io::duplex(4096);
    let host = async {
        let identity = Arc::new(token.identity().unwrap());
        let guest = bench.guest.public_key();
        let connected: Result<_, ConnectError> =
            link::connect(near, guest, &options(&identity)).await;
        let (link, _incoming, driver) = connected.unwrap();
        let mut driving = JoinSet::new();
        driving.spawn(driver.run());
        let refused = link.request(&Info {}).await.unwrap_err();
        assert!(
            matches!(&refused, RequestError::Refused(refusal) if refusal.code == RefusalCode::Denied),
            "{refused:?}"
        );
    };
    tokio::join!(host, bench.guest(far, &token, &bench.guest));
    assert_eq!(bench.enrolment.waiting(), Some(token));
}
