//! The suite's cases: each row of its example tables is one [`Case`], each sentence one [`Step`].

use portreeve_xds::EnvoyType::{self, Cluster, Endpoint, Listener, Route};
use portreeve_xds::Variant;

use Step::{
    Add, Alone, Apart, InOneResponse, Narrow, Never, NoneLeft, Only, Quiet, Receives, Remove, Removed, Setup,
    Subscribe, Unsubscribe, Update, Without,
};

/// One sentence of a case. Lists of names are written `A,B`; the last field of some steps is a version.
#[derive(Clone, Debug)]
pub enum Step {
    /// The target has these names of each of the types, at version 1.
    Setup(&'static [EnvoyType], &'static str),
    /// The target's resource gets a new version.
    Update(EnvoyType, &'static str, &'static str),
    /// The target gets one more resource.
    Add(EnvoyType, &'static str, &'static str),
    /// The target loses a resource.
    Remove(EnvoyType, &'static str),
    /// The client subscribes to these names; to everything if there are none.
    Subscribe(EnvoyType, &'static str),
    /// State of the world: the client replaces its names by this one.
    Narrow(EnvoyType, &'static str),
    /// State of the world: the client replaces its names by an empty name.
    NoneLeft(EnvoyType),
    /// Incremental: the client unsubscribes from a name.
    Unsubscribe(EnvoyType, &'static str),
    /// Each of the names came last at this version.
    Receives(EnvoyType, &'static str, &'static str),
    /// As [`Receives`], and no other name came.
    Only(EnvoyType, &'static str, &'static str),
    /// All of the names came last in the same response.
    InOneResponse(EnvoyType, &'static str),
    /// No other name came last in the same response as this one.
    Alone(EnvoyType, &'static str),
    /// As [`Alone`], and no other name has the same version.
    Apart(EnvoyType, &'static str),
    /// The name is in `removed_resources`.
    Removed(EnvoyType, &'static str),
    /// The name did not come since the client unsubscribed from it.
    Without(EnvoyType, &'static str),
    /// Nothing of the type came since the client left its names.
    Never(EnvoyType),
    /// The service sent fewer responses than it got requests: it answered no ACK.
    Quiet,
}

/// One row.
pub struct Case {
    pub name: &'static str,
    pub steps: Vec<Step>,
}

/// The cases of one of the four variants.
pub fn of(variant: Variant, aggregated: bool) -> Vec<Case> {
    let mut all = subscription_by_name();
    match variant {
        Variant::Sotw => {
            all.extend(wildcard());
            all.extend(change_of_a_subscribed_name());
            all.extend(name_created_later());
            all.extend(fewer_names());
            all.extend(no_name_left());
            all.extend(two_types_in_turn().into_iter().filter(|_| aggregated));
        }
        Variant::Delta => {
            all.extend(one_name_after_the_other());
            all.extend(update_alone());
            all.extend(missing_name());
            all.extend(removed_name());
            all.extend(unsubscription());
            all.extend(two_types_at_once().into_iter().filter(|_| aggregated));
        }
    }
    all
}

/// A case per row.
fn rows<R>(
    name: &'static str,
    rows: impl IntoIterator<Item = R>,
    steps: impl Fn(R) -> Vec<Step>,
) -> Vec<Case> {
    rows.into_iter().map(|row| Case { name, steps: steps(row) }).collect()
}

/// The target as each case finds it.
fn setup(ty: EnvoyType, names: &'static str) -> Step {
    let only: &'static [EnvoyType] = match ty {
        Cluster => &[Cluster],
        Endpoint => &[Endpoint],
        Listener => &[Listener],
        _ => &[Route],
    };
    Setup(only, names)
}

fn subscription_by_name() -> Vec<Case> {
    let table = [(Listener, "G,B,L,D", "L,G"), (Route, "B,A", "B,A")];
    rows("names that are subscribed are received", table, |(ty, all, names)| {
        vec![setup(ty, all), Subscribe(ty, names), Receives(ty, names, "1"), Quiet]
    })
}

// === State of the world ===

fn wildcard() -> Vec<Case> {
    let table = [(Cluster, "A,B,C", "C,A,B"), (Listener, "D,E,F", "F,D,E")];
    let mut all = rows("wildcard brings all", table, |(ty, names, mixed)| {
        vec![setup(ty, names), Subscribe(ty, ""), Receives(ty, mixed, "1"), InOneResponse(ty, mixed), Quiet]
    });
    let table = [(Cluster, "A,B,C", "A"), (Listener, "D,E,F", "D")];
    all.extend(rows("wildcard brings updates", table, |(ty, names, changed)| {
        vec![
            setup(ty, names),
            Subscribe(ty, ""),
            Receives(ty, names, "1"),
            Update(ty, changed, "2"),
            Receives(ty, names, "2"),
            InOneResponse(ty, names),
            Quiet,
        ]
    }));
    let table = [(Cluster, "A,B,C", "D", "A,B,C,D"), (Listener, "D,E,F", "G", "D,E,F,G")];
    all.extend(rows("wildcard brings additions", table, |(ty, names, new, then)| {
        vec![
            setup(ty, names),
            Subscribe(ty, ""),
            Receives(ty, names, "1"),
            Add(ty, new, "2"),
            Receives(ty, then, "2"),
            InOneResponse(ty, then),
            Quiet,
        ]
    }));
    all
}

fn change_of_a_subscribed_name() -> Vec<Case> {
    let start = |ty, all, names, changed| {
        vec![setup(ty, all), Subscribe(ty, names), Receives(ty, names, "1"), Update(ty, changed, "2")]
    };
    let table = [(Cluster, "A,B,C,D", "B,D", "B"), (Listener, "G,B,L,D", "L,G", "G")];
    let mut all = rows("change brings the full set", table, |(ty, all, names, changed)| {
        let then = vec![Receives(ty, names, "2"), InOneResponse(ty, names), Quiet];
        [start(ty, all, names, changed), then].concat()
    });
    let table = [(Route, "A,B,C,D", "B,D", "B"), (Endpoint, "A,B,C,D", "B,D", "B")];
    all.extend(rows("change brings what changed", table, |(ty, all, names, changed)| {
        [start(ty, all, names, changed), vec![Receives(ty, changed, "2"), Quiet]].concat()
    }));
    all
}

fn name_created_later() -> Vec<Case> {
    let start = |ty, all, names, there, new| {
        vec![setup(ty, all), Subscribe(ty, names), Receives(ty, there, "1"), Add(ty, new, "2")]
    };
    let table = [(Cluster, "A,B,C", "A,Z", "A", "Z"), (Listener, "G,B,D", "B,D,X", "B,D", "X")];
    let mut all = rows("creation brings the full set", table, |(ty, all, names, there, new)| {
        let then = vec![Receives(ty, names, "2"), InOneResponse(ty, names), Quiet];
        [start(ty, all, names, there, new), then].concat()
    });
    let table = [(Route, "A,B,C,D", "A,Z", "A", "Z"), (Endpoint, "A,B,C,D", "A,Z", "A", "Z")];
    all.extend(rows("creation brings what is new", table, |(ty, all, names, there, new)| {
        [start(ty, all, names, there, new), vec![Receives(ty, new, "2"), Quiet]].concat()
    }));
    all
}

fn fewer_names() -> Vec<Case> {
    let start = |ty, all, names, left| {
        vec![
            setup(ty, all),
            Subscribe(ty, names),
            Receives(ty, names, "1"),
            Narrow(ty, left),
            Update(ty, left, "2"),
        ]
    };
    let table = [(Cluster, "F,A,B,C,D", "C,A,B", "A"), (Listener, "G,B,L,D", "B,D,L", "B")];
    let mut all = rows("name that stays is received", table, |(ty, all, names, left)| {
        let then = vec![Receives(ty, left, "2"), InOneResponse(ty, left), Quiet];
        [start(ty, all, names, left), then].concat()
    });
    let table = [(Route, "A,B,C,D", "B,D", "B"), (Endpoint, "A,B,C,D", "B,D", "B")];
    all.extend(rows("only the name that stays is received", table, |(ty, all, names, left)| {
        [start(ty, all, names, left), vec![Only(ty, left, "2"), Quiet]].concat()
    }));
    all
}

fn no_name_left() -> Vec<Case> {
    rows("empty name ends the subscription", [Cluster, Route, Listener, Endpoint], |ty| {
        vec![
            setup(ty, "A,B,C,D"),
            Subscribe(ty, "A,B"),
            Receives(ty, "A,B", "1"),
            NoneLeft(ty),
            Update(ty, "B", "2"),
            Never(ty),
        ]
    })
}

fn two_types_in_turn() -> Vec<Case> {
    let table: [(&[EnvoyType], _, _); 2] =
        [(&[Cluster, Listener], Cluster, Listener), (&[Route, Endpoint], Route, Endpoint)];
    rows("two types share a stream", table, |(types, one, two)| {
        vec![
            Setup(types, "A,B,C"),
            Subscribe(one, "B"),
            Receives(one, "B", "1"),
            Subscribe(two, "B"),
            Receives(two, "B", "1"),
            Update(one, "B", "2"),
            Receives(one, "B", "2"),
            Quiet,
        ]
    })
}

// === Incremental ===

fn one_name_after_the_other() -> Vec<Case> {
    let table = [(Cluster, "A,B,C", "A", "B")];
    let others = [Listener, Route, Endpoint].map(|ty| (ty, "D,E,F", "D", "E"));
    rows(
        "names are subscribed one after the other",
        table.into_iter().chain(others),
        |(ty, all, one, two)| {
            vec![
                setup(ty, all),
                Subscribe(ty, one),
                Receives(ty, one, "1"),
                Subscribe(ty, two),
                Receives(ty, two, "1"),
                Quiet,
            ]
        },
    )
}

fn update_alone() -> Vec<Case> {
    rows("update brings the updated name alone", [Listener, Cluster, Route, Endpoint], |ty| {
        vec![
            setup(ty, "A,B,C"),
            Subscribe(ty, "A,B,C"),
            Receives(ty, "A,B,C", "1"),
            Update(ty, "A", "2"),
            Receives(ty, "A", "2"),
            Apart(ty, "A"),
            Quiet,
        ]
    })
}

/// Types and names of the tables with two names.
fn pairs() -> impl Iterator<Item = (EnvoyType, &'static str, &'static str, &'static str)> {
    let others = [Listener, Route, Endpoint].map(|ty| (ty, "D,E", "D", "E"));
    [(Cluster, "A,B", "A", "B")].into_iter().chain(others)
}

fn missing_name() -> Vec<Case> {
    rows("missing name is sent when it is created", pairs(), |(ty, names, there, new)| {
        vec![
            setup(ty, there),
            Subscribe(ty, names),
            Receives(ty, there, "1"),
            Apart(ty, there),
            Add(ty, new, "1"),
            Receives(ty, new, "1"),
            Alone(ty, new),
            Quiet,
        ]
    })
}

fn removed_name() -> Vec<Case> {
    rows("removed name is in removed_resources", pairs(), |(ty, names, _, leaves)| {
        vec![
            setup(ty, names),
            Subscribe(ty, names),
            Receives(ty, names, "1"),
            Remove(ty, leaves),
            Removed(ty, leaves),
            Add(ty, leaves, "2"),
            Receives(ty, leaves, "2"),
            Apart(ty, leaves),
            Quiet,
        ]
    })
}

fn unsubscription() -> Vec<Case> {
    rows("names are unsubscribed one after the other", pairs(), |(ty, names, second, first)| {
        let left = |name| vec![Unsubscribe(ty, name), Update(ty, name, "2"), Without(ty, name)];
        let start = vec![setup(ty, names), Subscribe(ty, names), Receives(ty, names, "1")];
        [start, left(first), left(second), vec![Quiet]].concat()
    })
}

fn two_types_at_once() -> Vec<Case> {
    let table: [(&[EnvoyType], _, _); 4] = [
        (&[Cluster, Listener], Cluster, Listener),
        (&[Listener, Cluster], Listener, Cluster),
        (&[Route, Endpoint], Route, Endpoint),
        (&[Endpoint, Route], Endpoint, Route),
    ];
    rows("two types share a stream", table, |(types, one, two)| {
        vec![
            Setup(types, "A,B,C"),
            Subscribe(one, "B"),
            Subscribe(two, "B"),
            Receives(one, "B", "1"),
            Receives(two, "B", "1"),
            Update(one, "B", "2"),
            Receives(one, "B", "2"),
            Update(two, "B", "2"),
            Receives(two, "B", "2"),
            Quiet,
        ]
    })
}
