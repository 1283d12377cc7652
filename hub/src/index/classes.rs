//! Classes of nodes ([`Classes`]): nodes with the same Plans share one, and what the Plans refer to is kept once for all of them.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

use portreeve_xds::Resource;

use super::matches::Name;
use crate::keyed_sets::KeyedSets;

/// A Plan, encoded once, with the names of the resources that a node needs along with it.
#[derive(Clone)]
pub struct Encoded {
    /// The encoded Plan under its name.
    pub resource: Arc<Resource>,
    /// The names of its Groups.
    pub groups: BTreeSet<Name>,
    /// The names of its Secret resources.
    pub secrets: BTreeSet<Name>,
}

/// The number of a class. Numbers are not reused.
pub type ClassId = u64;

/// All classes whose nodes have Plans.
#[derive(Default)]
pub struct Classes {
    classes: HashMap<ClassId, Class>,
    by_key: HashMap<u128, ClassId>,
    /// Group → classes that use it.
    groups: KeyedSets<Name, ClassId>,
    /// Secret resource → classes that use it.
    secrets: KeyedSets<Name, ClassId>,
    /// Plan → classes that have it.
    plans: KeyedSets<Name, ClassId>,
    next: ClassId,
    hashes: [RandomState; 2],
}

/// The nodes that have one set of Plans.
#[derive(Default)]
struct Class {
    content: Content,
    /// The sum (exclusive or) of the hashes of the Plans' names: equal sets have equal keys.
    key: u128,
    /// The number of nodes.
    size: usize,
    /// The nodes whose agents are connected.
    attached: BTreeSet<Name>,
}

/// Plans, and the number of them that name each group and Secret resource.
#[derive(Clone, Default)]
pub struct Content {
    /// The Plans by name.
    pub plans: BTreeMap<Name, Arc<Encoded>>,
    /// The groups that they name.
    pub groups: HashMap<Name, usize>,
    /// The Secret resources that they name.
    pub secrets: HashMap<Name, usize>,
}

/// Plans that come and Plans that go. A new version of a Plan comes while its old one goes.
#[derive(Clone, Copy, Default)]
pub struct Exchange<'e> {
    /// The Plans that come.
    pub put: &'e [Arc<Encoded>],
    /// The Plans that go.
    pub drop: &'e [Arc<Encoded>],
}

/// The groups and Secret resources of which an exchange brings the first or takes the last use.
#[derive(Debug, Default)]
pub struct Difference {
    /// Groups that come.
    pub groups: Vec<Name>,
    /// Groups that go.
    pub left: Vec<Name>,
    /// Secret resources that come.
    pub secrets: Vec<Name>,
    /// Secret resources that go.
    pub left_secrets: Vec<Name>,
}

// === impl Classes ===

impl Classes {
    /// The Plans of a class, and what they name; of `None`, which has none, nothing.
    pub fn content(&self, class: Option<ClassId>) -> Option<&Content> {
        Some(&self.classes.get(&class?)?.content)
    }

    /// Classes with a Plan that names the group.
    pub fn using_group(&self, group: &Name) -> impl Iterator<Item = ClassId> {
        self.groups.of(group).copied()
    }

    /// Classes with a Plan that names the Secret resource.
    pub fn using_secret(&self, secret: &Name) -> impl Iterator<Item = ClassId> {
        self.secrets.of(secret).copied()
    }

    /// Classes with the Plan.
    pub fn with_plan(&self, plan: &Name) -> Vec<ClassId> {
        self.plans.of(plan).copied().collect()
    }

    /// The nodes of a class whose agents are connected.
    pub fn attached(&self, class: ClassId) -> impl Iterator<Item = &Name> {
        self.classes.get(&class).into_iter().flat_map(|class| &class.attached)
    }

    /// Records that an agent of a node of this class connected.
    pub fn attach(&mut self, class: ClassId, node: &Name) {
        if let Some(class) = self.classes.get_mut(&class) {
            class.attached.insert(node.clone());
        }
    }

    /// Records that no agent of a node of this class is connected any more.
    pub fn detach(&mut self, class: ClassId, node: &Name) {
        if let Some(class) = self.classes.get_mut(&class) {
            class.attached.remove(node);
        }
    }

    /// Replaces a Plan's version in a class.
    pub fn renew(&mut self, class: ClassId, exchange: Exchange<'_>, difference: &Difference) {
        let Some(found) = self.classes.get_mut(&class) else { return };
        found.content.apply(exchange);
        self.refer(class, difference);
    }

    /// Moves this number of a class's nodes to the class that has the exchanged Plans, and returns it. If these are all nodes of the
    /// class and no other class has these Plans, it stays the same class. The caller attaches the connected ones.
    pub fn shift(
        &mut self,
        class: Option<ClassId>,
        moving: usize,
        exchange: Exchange<'_>,
        difference: &Difference,
    ) -> Option<ClassId> {
        let before = class.and_then(|class| self.classes.get(&class));
        let (key, size) = before.map_or((0, 0), |before| (before.key, before.size));
        let key = exchange.plans().fold(key, |key, plan| key ^ self.hash(plan.resource.name()));
        let target = match self.by_key.get(&key) {
            Some(target) => Some(*target),
            None if key == 0 => None,
            None if class.is_some() && size == moving => {
                return self.change(class?, key, exchange, difference);
            }
            None => Some(self.split(class, key, exchange)),
        };
        if let Some(target) = target.and_then(|target| self.classes.get_mut(&target)) {
            target.size += moving;
        }
        if let Some(class) = class {
            self.shrink(class, moving);
        }
        target
    }

    /// Exchanges Plans of all nodes of a class.
    fn change(
        &mut self,
        class: ClassId,
        key: u128,
        exchange: Exchange<'_>,
        difference: &Difference,
    ) -> Option<ClassId> {
        let found = self.classes.get_mut(&class)?;
        self.by_key.remove(&std::mem::replace(&mut found.key, key));
        self.by_key.insert(key, class);
        found.content.apply(exchange);
        self.refer(class, difference);
        remove(&mut self.plans, exchange.drop.iter().map(|plan| plan.resource.name()), class);
        insert(&mut self.plans, exchange.put.iter().map(|plan| plan.resource.name()), class);
        Some(class)
    }

    /// Creates a class without nodes.
    fn split(&mut self, from: Option<ClassId>, key: u128, exchange: Exchange<'_>) -> ClassId {
        let mut content = self.content(from).cloned().unwrap_or_default();
        content.apply(exchange);
        let class = self.next;
        self.next += 1;
        insert(&mut self.plans, content.plans.keys(), class);
        insert(&mut self.groups, content.groups.keys(), class);
        insert(&mut self.secrets, content.secrets.keys(), class);
        self.by_key.insert(key, class);
        self.classes.insert(class, Class { content, key, ..Class::default() });
        class
    }

    /// Takes nodes out of a class. After the last one, the class is forgotten.
    fn shrink(&mut self, class: ClassId, by: usize) {
        let Some(found) = self.classes.get_mut(&class) else { return };
        found.size = found.size.saturating_sub(by);
        if found.size > 0 {
            return;
        }
        let Some(Class { content, key, .. }) = self.classes.remove(&class) else { return };
        self.by_key.remove(&key);
        remove(&mut self.plans, content.plans.keys(), class);
        remove(&mut self.groups, content.groups.keys(), class);
        remove(&mut self.secrets, content.secrets.keys(), class);
    }

    fn refer(&mut self, class: ClassId, difference: &Difference) {
        let Difference { groups, left, secrets, left_secrets } = difference;
        insert(&mut self.groups, groups, class);
        remove(&mut self.groups, left, class);
        insert(&mut self.secrets, secrets, class);
        remove(&mut self.secrets, left_secrets, class);
    }

    fn hash(&self, name: &Name) -> u128 {
        let [high, low] = self.hashes.each_ref().map(|state| u128::from(state.hash_one(name)));
        high << 64 | low
    }
}

// === impl Content ===

impl Content {
    /// Returns what an exchange brings and takes. Nothing is changed.
    pub fn difference(&self, exchange: Exchange<'_>) -> Difference {
        let (groups, left) = turned(&self.groups, exchange, |plan| &plan.groups);
        let (secrets, left_secrets) = turned(&self.secrets, exchange, |plan| &plan.secrets);
        Difference { groups, left, secrets, left_secrets }
    }

    fn apply(&mut self, exchange: Exchange<'_>) {
        let Self { plans, groups, secrets } = self;
        for plan in exchange.put {
            plan.groups.iter().for_each(|group| *groups.entry(group.clone()).or_default() += 1);
            plan.secrets.iter().for_each(|secret| *secrets.entry(secret.clone()).or_default() += 1);
        }
        for plan in exchange.drop {
            plan.groups.iter().for_each(|group| release(groups, group));
            plan.secrets.iter().for_each(|secret| release(secrets, secret));
            plans.remove(plan.resource.name());
        }
        plans.extend(exchange.put.iter().map(|plan| (plan.resource.name().clone(), plan.clone())));
    }
}

// === impl Exchange ===

impl<'e> Exchange<'e> {
    fn plans(self) -> impl Iterator<Item = &'e Arc<Encoded>> {
        self.put.iter().chain(self.drop)
    }
}

fn insert<'n>(
    sets: &mut KeyedSets<Name, ClassId>,
    names: impl IntoIterator<Item = &'n Name>,
    class: ClassId,
) {
    for name in names {
        sets.insert(name.clone(), class);
    }
}

fn remove<'n>(
    sets: &mut KeyedSets<Name, ClassId>,
    names: impl IntoIterator<Item = &'n Name>,
    class: ClassId,
) {
    for name in names {
        sets.remove(name, &class);
    }
}

fn release(counts: &mut HashMap<Name, usize>, name: &Name) {
    let Some(count) = counts.get_mut(name) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(name);
    }
}

/// The names whose number an exchange raises from zero, and those whose number it lowers to zero.
fn turned(
    counts: &HashMap<Name, usize>,
    exchange: Exchange<'_>,
    of: fn(&Encoded) -> &BTreeSet<Name>,
) -> (Vec<Name>, Vec<Name>) {
    let mut changes: BTreeMap<&Name, [usize; 2]> = BTreeMap::new();
    for (side, plans) in [exchange.put, exchange.drop].into_iter().enumerate() {
        for name in plans.iter().flat_map(|plan| of(plan)) {
            changes.entry(name).or_default()[side] += 1;
        }
    }
    let (mut came, mut left) = (Vec::new(), Vec::new());
    for (name, [put, dropped]) in changes {
        let before = counts.get(name).copied().unwrap_or(0);
        match (before, before + put - dropped.min(before + put)) {
            (0, now) if now > 0 => came.push(name.clone()),
            (1.., 0) => left.push(name.clone()),
            _ => {}
        }
    }
    (came, left)
}

#[cfg(test)]
mod tests {
    use portreeve_api::PlanType;

    use super::*;

    fn mk_plan(name: &str, groups: &[&str]) -> Arc<Encoded> {
        let groups = groups.iter().map(|group| Name::from(*group)).collect();
        let resource = Resource::new(PlanType::Plan, Name::from(name), b"");
        Arc::new(Encoded { resource, groups, secrets: BTreeSet::new() })
    }

    /// Moves nodes and returns their class, with what it gains and loses.
    fn shift(
        classes: &mut Classes,
        class: Option<ClassId>,
        moving: usize,
        exchange: Exchange<'_>,
    ) -> (Option<ClassId>, Difference) {
        let difference = classes.content(class).unwrap_or(&Content::default()).difference(exchange);
        (classes.shift(class, moving, exchange, &difference), difference)
    }

    fn users(classes: &Classes, group: &str) -> Vec<ClassId> {
        classes.using_group(&group.into()).collect()
    }

    #[test]
    fn nodes_with_the_same_plans_share_a_class_whatever_the_way_to_them() {
        let mut classes = Classes::default();
        let (a, b) = ([mk_plan("a", &["g"])], [mk_plan("b", &["g", "h"])]);
        let put = |put| Exchange { put, drop: &[] };
        let drop = |drop| Exchange { put: &[], drop };
        // Two nodes get a, and then b; a third one b, and then a.
        let (first, _) = shift(&mut classes, None, 2, put(&a));
        let (second, came) = shift(&mut classes, first, 2, put(&b));
        assert_eq!(
            (second, came.groups),
            (first, vec!["h".into()]),
            "all of the class: it stays the same one"
        );
        let (third, _) = shift(&mut classes, None, 1, put(&b));
        assert_ne!(third, first);
        assert_eq!(shift(&mut classes, third, 1, put(&a)).0, first);
        assert_eq!((classes.classes.len(), users(&classes, "h").len()), (1, 1));
        // One leaves b: the two others keep it.
        let (fourth, gone) = shift(&mut classes, first, 1, drop(&b));
        assert_eq!((gone.groups, gone.left), (vec![], vec!["h".into()]));
        assert_eq!((users(&classes, "g").len(), users(&classes, "h").len()), (2, 1));
        // All leave everything.
        let (none, _) = shift(&mut classes, fourth, 1, drop(&a));
        let both = [a[0].clone(), b[0].clone()];
        assert_eq!((none, shift(&mut classes, first, 2, drop(&both)).0), (None, None));
        assert!(classes.classes.is_empty() && classes.by_key.is_empty() && users(&classes, "g").is_empty());
    }

    #[test]
    fn new_version_of_a_plan_brings_and_takes_what_only_it_names() {
        let mut classes = Classes::default();
        let (old, new) = ([mk_plan("a", &["g", "h"])], [mk_plan("a", &["h", "i"])]);
        let (class, _) = shift(&mut classes, None, 5, Exchange { put: &old, drop: &[] });
        let exchange = Exchange { put: &new, drop: &old };
        let difference = classes.content(class).unwrap().difference(exchange);
        assert_eq!((&difference.groups, &difference.left), (&vec!["i".into()], &vec!["g".into()]));
        classes.renew(class.unwrap(), exchange, &difference);
        assert_eq!(classes.content(class).unwrap().plans.len(), 1);
        assert_eq!(["g", "h", "i"].map(|group| users(&classes, group).len()), [0, 1, 1]);
        assert_eq!(classes.with_plan(&"a".into()), [class.unwrap()]);
        assert_eq!(shift(&mut classes, class, 5, Exchange { put: &[], drop: &new }).0, None);
        assert!(users(&classes, "h").is_empty() && classes.plans.get("a").is_none());
    }
}
