//! Steps for listeners and their rules.

use super::Planner;
use crate::action::{Action, ListenerRules, Place};
use crate::actual::Actual;
use crate::names::{self, Key, Kind};
use crate::slot::Slot;
use crate::wanted::{Rule, WantedListener, WantedRules};

impl Planner<'_> {
    /// Brings the rules of present listeners up to date, and adds missing listeners.
    pub(super) fn listeners(&mut self) {
        let wanted = self.wanted;
        for resource in self.of(Kind::Listener) {
            let Some(Ok(made)) = wanted.listeners.get(resource) else { continue };
            let owner = Key::new(Kind::Listener, resource.clone());
            match self.after.listeners.get(&made.name).map(|seen| seen.list.clone()) {
                Some(list) if self.works(made, &list) => self.rules(&owner, made, &list),
                Some(list) => self.make_again(&owner, made, list),
                None => self.add(&owner, made),
            }
        }
    }

    /// Whether a present listener can receive, and has its rule list.
    fn works(&self, made: &WantedListener, list: &str) -> bool {
        !self.sessions.deaf.contains(&made.name) && self.after.lists.contains_key(list)
    }

    /// Brings a listener's rules up to date.
    fn rules(&mut self, owner: &Key, made: &WantedListener, list: &str) {
        let WantedRules::These(rules) = &made.rules else { return };
        let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
        if self.after.lists.get(list).is_some_and(|present| *present != names) {
            if Actual::is_unread(list) {
                self.unread.insert(made.name.clone());
                return;
            }
            self.order(owner, rules, list);
        }
        rules.iter().for_each(|rule| self.mend(owner, rule));
    }

    /// Makes a list have these rules in this order. Each new rule is inserted before an old one leaves.
    fn order(&mut self, owner: &Key, rules: &[Rule], list: &str) {
        for (at, rule) in rules.iter().enumerate() {
            while let Some(wrong) = self.wrong(&rules[at..], list, at) {
                self.push(owner.clone(), Action::Unlink { list: list.to_owned(), rule: wrong });
            }
            let present = self.after.lists.get(list).and_then(|present| present.get(at));
            if present.is_none_or(|present| *present != rule.name) {
                let rule = self.reference(owner, rule);
                let place = Place::At(at);
                self.push(owner.clone(), Action::Insert { list: list.to_owned(), place, rule });
            }
        }
        while let Some(last) = self.after.lists.get(list).and_then(|present| present.get(rules.len())) {
            let action = Action::Unlink { list: list.to_owned(), rule: last.clone() };
            self.push(owner.clone(), action);
        }
    }

    /// Returns a rule that must leave before the first of `rules` is at this position: one before it, or itself if another
    /// of them is before it.
    fn wrong(&self, rules: &[Rule], list: &str, at: usize) -> Option<String> {
        let present = self.after.lists.get(list)?.get(at..)?;
        let (rule, first) = (&rules.first()?.name, present.first()?);
        if first == rule || !present.contains(rule) {
            return None;
        }
        let first_stays = rules.iter().any(|other| other.name == *first);
        Some(if first_stays { rule.clone() } else { first.clone() })
    }

    /// Deletes a listener and adds it with the rules that it had.
    fn make_again(&mut self, owner: &Key, made: &WantedListener, list: String) {
        if Actual::is_unread(&list) {
            self.unread.insert(made.name.clone());
            return;
        }
        self.push(owner.clone(), Action::DeleteListener { name: made.name.clone(), recursive: false });
        let rules = match self.after.lists.contains_key(&list) {
            true => ListenerRules::List(list),
            false => self.listener_rules(owner, made),
        };
        self.push_listener(owner, made, rules);
    }

    /// Adds a listener, after the driver's former listeners left its slot.
    fn add(&mut self, owner: &Key, made: &WantedListener) {
        let former = self.at(made.slot.as_ref());
        let unread = former.iter().filter(|(_, list)| Actual::is_unread(list)).map(|(name, _)| name.clone());
        let unread: Vec<String> = unread.collect();
        if !unread.is_empty() {
            self.unread.extend(unread);
            return;
        }
        // Before the former one goes, so that the port is closed for one request only.
        let rules = self.listener_rules(owner, made);
        for (name, _) in former {
            let resource = names::resource(&name).unwrap_or_default().to_owned();
            self.delete_listener(Key::new(Kind::Listener, resource), name);
        }
        self.push_listener(owner, made, rules);
    }

    /// Deletes a listener. Its rules follow with the removals.
    pub(super) fn delete_listener(&mut self, owner: Key, name: String) {
        let recursive = self.sessions.recursive && names::ends_sessions(&name);
        self.push(owner, Action::DeleteListener { name, recursive });
    }

    fn push_listener(&mut self, owner: &Key, made: &WantedListener, rules: ListenerRules) {
        let (name, slot, body) = (made.name.clone(), made.slot.clone(), made.body.clone());
        self.push(owner.clone(), Action::AddListener { name, slot, body, rules });
    }

    /// Returns a listener's rules for a request. If the proxy has one of them already, all get a list first.
    fn listener_rules(&mut self, owner: &Key, made: &WantedListener) -> ListenerRules {
        let rules = match &made.rules {
            WantedRules::List(list) => return ListenerRules::List(list.clone()),
            WantedRules::These(rules) => rules,
        };
        let list = format!("{}-RuleList", made.name);
        // What the list lacks is put right when the listener is there.
        if self.after.lists.contains_key(&list) {
            return ListenerRules::List(list);
        }
        let rules: Vec<_> = rules.iter().map(|rule| self.reference(owner, rule)).collect();
        if rules.iter().all(|rule| !rule.rule_exists) {
            return ListenerRules::These(rules);
        }
        self.push(owner.clone(), Action::AddList { name: list.clone(), rules });
        ListenerRules::List(list)
    }

    /// Returns the driver's listeners with this slot, and their lists.
    fn at(&self, slot: Option<&Slot>) -> Vec<(String, String)> {
        let Some(slot) = slot else { return Vec::new() };
        let own = self.after.at(slot).filter(|name| names::is_own(name));
        own.filter_map(|name| Some((name.to_owned(), self.after.listeners.get(name)?.list.clone()))).collect()
    }
}
