//! A client that has accepted what its snapshot shares with others needs no entries of its own. No response may tell.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portreeve_xds::{
    Base, Batch, Changes, EnvoyType, Kind, Name, Request, Resource, Response, Snapshot, Variant, View, Watch,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const STEPS: usize = 400;
const NAMES: usize = 12;
const TYPES: [EnvoyType; 4] =
    [EnvoyType::Cluster, EnvoyType::Endpoint, EnvoyType::Secret, EnvoyType::Listener];

/// The same resources in two views, of which one is based on shared ones, and a stream on each.
struct Twins {
    views: [Arc<View<EnvoyType>>; 2],
    base: Base<EnvoyType>,
    masked: (EnvoyType, Name),
    watches: [Watch<EnvoyType>; 2],
    /// Unanswered responses.
    open: VecDeque<(EnvoyType, String)>,
    now: Instant,
}

impl Twins {
    fn new(masked: (EnvoyType, Name)) -> Self {
        let (base, now) = (Base::default(), Instant::now());
        let based = Snapshot::of(base.clone(), Some(masked.clone()));
        let views = [View::new(Snapshot::new()), View::new(based)];
        let watches = views.each_ref().map(|view| Watch::new(view.clone(), Variant::Delta, None));
        Self { views, base, masked, watches, open: VecDeque::new(), now }
    }

    fn change(&mut self, ty: EnvoyType, name: &str, body: Option<&[u8]>) {
        let mut changes = Changes::default();
        match body {
            Some(body) => changes.upsert.push((ty, Resource::new(ty, name, body))),
            None => changes.remove.push((ty, name.into())),
        }
        let differ: Batch<EnvoyType> = self.base.apply(&changes).into();
        self.views[1].install(self.base.clone(), &differ, Changes::default());
        if (ty, name.into()) != self.masked {
            self.views[0].apply(changes);
        }
    }

    fn request(&mut self, request: &Request<EnvoyType>) {
        self.watches.iter_mut().for_each(|watch| watch.request(request.clone(), self.now));
    }

    /// Takes all responses, which must be the same.
    fn respond(&mut self, seed: u64) {
        loop {
            let [one, other] = self.watches.each_mut().map(|watch| watch.next(self.now));
            assert_eq!(one.as_ref().map(told), other.as_ref().map(told), "seed {seed}");
            let Some(response) = one else { return };
            self.open.extend(response.ty.map(|ty| (ty, response.nonce)));
        }
    }

    fn answer(&mut self, refuse: bool) {
        let Some((ty, nonce)) = self.open.pop_front() else { return };
        let error_detail = refuse.then(|| format!("Error adding/updating {ty:?}(s) n1: no"));
        self.request(&Request { nonce, error_detail, ..Request::new(Kind::Known(ty)) });
    }
}

fn told(response: &Response<EnvoyType>) -> String {
    let resources = response.resources.iter().map(|one| (one.name(), one.version())).collect::<Vec<_>>();
    let Response { ty, nonce, version, removed, .. } = response;
    format!("{ty:?} {nonce} {version} {resources:?} {removed:?}")
}

/// A client that comes back with what it had, most of which is still there.
fn come_back(twins: &mut Twins, dice: &mut SmallRng) {
    for ty in TYPES {
        let mut initial = Vec::new();
        for i in 0..NAMES {
            let name = format!("n{i}");
            twins.change(ty, &name, Some(b"1"));
            let body: &[u8] = if dice.random_range(0..20) == 0 { b"0" } else { b"1" };
            if (ty, Name::from(name.as_str())) != twins.masked {
                initial.push((name, Resource::new(ty, "", body).version().to_string()));
            }
        }
        twins.request(&Request { initial, subscribe: vec!["*".into()], ..Request::new(Kind::Known(ty)) });
    }
}

fn run(seed: u64) {
    let dice = &mut SmallRng::seed_from_u64(seed);
    let mut twins = Twins::new((EnvoyType::Cluster, "n0".into()));
    if seed % 2 == 1 {
        come_back(&mut twins, dice);
    }
    for _ in 0..STEPS {
        let (ty, name) = (TYPES[dice.random_range(0..4)], format!("n{}", dice.random_range(0..NAMES)));
        match dice.random_range(0..20) {
            0..=6 => twins.change(ty, &name, Some(&[dice.random_range(0..3)])),
            7 | 8 => twins.change(ty, &name, None),
            9 => twins.request(&Request { subscribe: vec!["*".into()], ..Request::new(Kind::Known(ty)) }),
            // Seldom: a type with a subscription by name keeps its entries.
            10 if dice.random_range(0..4) == 0 => {
                twins.request(&Request { subscribe: vec![name], ..Request::new(Kind::Known(ty)) });
            }
            11 if dice.random_range(0..4) == 0 => {
                twins.request(&Request { unsubscribe: vec!["*".into()], ..Request::new(Kind::Known(ty)) });
            }
            12 => twins.request(&Request { unsubscribe: vec![name], ..Request::new(Kind::Known(ty)) }),
            13 => twins.answer(true),
            14 => twins.now += Duration::from_millis(dice.random_range(1..1500)),
            _ => {
                twins.respond(seed);
                (0..dice.random_range(0..4)).for_each(|_| twins.answer(false));
            }
        }
    }
    for _ in 0..50 {
        twins.now += Duration::from_secs(3);
        twins.respond(seed);
        (0..twins.open.len()).for_each(|_| twins.answer(false));
    }
    twins.respond(seed);
    assert!(twins.open.is_empty(), "seed {seed}");
}

#[test]
fn responses_are_the_same_with_and_without_entries() {
    (0..200).for_each(run);
}
