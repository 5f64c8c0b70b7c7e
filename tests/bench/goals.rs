//! What our tunnel is to reach, and whether it did.

use serde::Serialize;

use crate::{
    candidates::CANDIDATES,
    results::{Results, sum},
    statistics::Spread,
};

/// A goal with what was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) what: &'static str,
    /// At least or at most so much.
    pub(crate) goal: String,
    /// None when something it needs was not measured.
    pub(crate) median: Option<f64>,
    #[serde(skip)]
    pub(crate) spread: Option<Spread>,
    pub(crate) reached: Option<bool>,
}

struct Goal {
    what: &'static str,
    bound: Bound,
    unit: &'static str,
    value: fn(&Results) -> Option<Spread>,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// Ours as its users have it.
const OURS: &str = "lkc-unix";

const BOTH_WAYS: &[&str] = &["up", "down"];

const GOALS: &[Goal] = &[
    Goal {
        what: "one stream, up and down, against direct",
        bound: Bound::AtLeast(0.60),
        unit: "×",
        value: |results| results.ratio(OURS, "direct", |round| sum(round, BOTH_WAYS)),
    },
    Goal {
        what: "one stream against two socat hops",
        bound: Bound::AtLeast(2.7),
        unit: "×",
        value: |results| results.ratio(OURS, "socat-2", |round| sum(round, BOTH_WAYS)),
    },
    Goal {
        what: "16 streams against two socat hops",
        bound: Bound::AtLeast(3.2),
        unit: "×",
        value: |results| results.ratio(OURS, "socat-2", |round| sum(round, &["16-up"])),
    },
    Goal {
        what: "CPU seconds per GiB against two socat hops",
        bound: Bound::AtMost(0.28),
        unit: "×",
        value: |results| {
            results.ratio(OURS, "socat-2", |round| sum(round, &["cpu-up", "cpu-down"]))
        },
    },
    Goal {
        what: "1-byte round trip, idle, against two tuned socat hops",
        bound: Bound::AtMost(0.9),
        unit: "×",
        value: |results| results.ratio(OURS, "socat-2-tuned", |round| sum(round, &["ping-p50"])),
    },
    Goal {
        what: "1-byte round trip beside a bulk transfer, p50, worse direction",
        bound: Bound::AtMost(150.0),
        unit: " µs",
        value: |results| results.spread_of(OURS, |round| worse(round, "p50")),
    },
    Goal {
        what: "1-byte round trip beside a bulk transfer, p99, worse direction",
        bound: Bound::AtMost(3000.0),
        unit: " µs",
        value: |results| results.spread_of(OURS, |round| worse(round, "p99")),
    },
    Goal {
        what: "that bulk transfer's own rate against direct alone",
        bound: Bound::AtLeast(0.60),
        unit: "×",
        value: |results| {
            let beside = results.spread_of(OURS, |round| sum(round, &["beside-up", "beside-down"]));
            let direct = results.spread_of("direct", |round| sum(round, BOTH_WAYS))?;
            beside.map(|beside| Spread {
                median: beside.median / direct.median,
                least: beside.least / direct.median,
                most: beside.most / direct.median,
            })
        },
    },
    Goal {
        what: "new connections per second, 8 clients, against two socat hops",
        bound: Bound::AtLeast(8.0),
        unit: "×",
        value: |results| results.ratio(OURS, "socat-2", |round| sum(round, &["connects-8"])),
    },
    Goal {
        what: "1,000 idle connections, both processes (PSS)",
        bound: Bound::AtMost(16.0),
        unit: " MiB",
        value: |results| results.spread(OURS, "idle-pss"),
    },
    Goal {
        what: "others beside four unread streams each way, against without",
        bound: Bound::AtLeast(0.9),
        unit: "×",
        value: |results| {
            results.spread_of(OURS, |round| {
                let unread = sum(round, &["unread-up", "unread-down"])?;
                Some(unread / sum(round, &["read-up", "read-down"])?)
            })
        },
    },
    Goal {
        what: "10,000 open streams, both processes (PSS)",
        bound: Bound::AtMost(160.0),
        unit: " MiB",
        value: |results| results.spread(OURS, "open-pss"),
    },
    Goal {
        what: "of these, lost",
        bound: Bound::AtMost(0.0),
        unit: "",
        value: |results| results.spread(OURS, "open-lost"),
    },
    Goal {
        what: "encrypted link, one stream, against two socat hops",
        bound: Bound::AtLeast(1.7),
        unit: "×",
        value: |results| {
            results.ratio("lkc-unix-encrypted", "socat-2", |round| {
                sum(round, BOTH_WAYS)
            })
        },
    },
    Goal {
        what: "TCP behaviours that both ends can tell from a direct connection, worst carrier",
        bound: Bound::AtMost(0.0),
        unit: "",
        value: |results| {
            let ours = CANDIDATES.iter().filter(|candidate| candidate.is_ours());
            let told = ours.filter_map(|candidate| results.spread(candidate.name, "told"));
            told.max_by(|one, other| one.median.total_cmp(&other.median))
        },
    },
];

/// Every goal that a run can show.
pub(crate) fn judge(results: &Results) -> Vec<Judged> {
    let judged = GOALS.iter().map(|goal| {
        let spread = (goal.value)(results);
        let median = spread.map(|spread| spread.median);
        let (sign, bound) = match goal.bound {
            Bound::AtLeast(bound) => ('≥', bound),
            Bound::AtMost(bound) => ('≤', bound),
        };
        Judged {
            what: goal.what,
            goal: format!("{sign} {bound}{}", goal.unit),
            median,
            spread,
            reached: median.map(|median| match goal.bound {
                Bound::AtLeast(bound) => median >= bound,
                Bound::AtMost(bound) => median <= bound,
            }),
        }
    });
    judged.collect()
}

fn worse(round: &crate::measurement::Figures, quantile: &str) -> Option<f64> {
    let up = round.get(format!("beside-up-{quantile}").as_str())?;
    let down = round.get(format!("beside-down-{quantile}").as_str())?;
    Some(up.max(*down))
}
