//! Types that this server does not have ([`UnknownTypes`]). Each request is answered with "does not exist", and the stream
//! stays open.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::load::Load;
use crate::message::{Request, Response, Variant};
use crate::resource::{Name, Version};

/// Unknown type URLs per stream. One more ends the stream.
const MAX_URLS: usize = 32;

/// An answer that was not sent yet.
#[derive(Debug)]
pub(super) struct Answer {
    url: Arc<str>,
    names: Vec<Name>,
}

/// The requests for unknown types on one stream.
#[derive(Debug, Default)]
pub(super) struct UnknownTypes {
    asked: HashMap<Arc<str>, Vec<String>>,
    answers: VecDeque<Answer>,
    /// The URLs and names in `asked` and `answers`.
    load: Load,
    /// The client asked for more types than [`MAX_URLS`].
    excess: bool,
}

// === impl Answer ===

impl Answer {
    fn load(&self) -> Load {
        load_of(&self.url, self.names.iter().map(|name| &**name))
    }

    /// Builds the response that removes all names.
    pub(super) fn response<T>(self, variant: Variant, nonce: u64) -> Response<T> {
        Response {
            variant,
            ty: None,
            type_url: Cow::Owned(self.url.to_string()),
            nonce: nonce.to_string(),
            version: Version(0),
            system_version: None,
            resources: Arc::default(),
            removed: self.names,
        }
    }
}

fn load_of<'a>(url: &'a str, names: impl Iterator<Item = &'a str>) -> Load {
    Load::of(std::iter::once(url).chain(names))
}

// === impl UnknownTypes ===

impl UnknownTypes {
    /// Handles a request. Returns whether the URL is new on this stream.
    pub(super) fn request<T>(&mut self, url: &Arc<str>, req: &Request<T>) -> bool {
        let known = self.asked.get(url);
        let first = known.is_none();
        let excess = first && !url.is_empty() && self.asked.len() >= MAX_URLS;
        self.excess |= excess;
        if url.is_empty() || excess {
            return false;
        }
        let more = known.is_some_and(|names| *names != req.names) || !req.subscribe.is_empty();
        self.load = self.load.plus(load_of(url, req.names.iter().map(String::as_str)));
        if let Some(before) = self.asked.insert(url.clone(), req.names.clone()) {
            self.load = self.load.minus(load_of(url, before.iter().map(String::as_str)));
        }
        let waits = self.answers.iter().any(|answer| answer.url == *url && req.subscribe.is_empty());
        if (first || more) && !waits {
            let names = req.subscribe.iter().filter(|name| *name != "*").map(|name| name.as_str().into());
            let mut names: Vec<Name> = names.collect();
            names.sort();
            names.dedup();
            let answer = Answer { url: url.clone(), names };
            self.load = self.load.plus(answer.load());
            self.answers.push_back(answer);
        }
        first
    }

    /// Returns what is remembered: URLs, their names, and the names of unsent answers.
    pub(super) fn load(&self) -> Load {
        self.load
    }

    /// Fails if the client asked for too many types.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.excess {
            true => {
                Err(format!("the stream asks for more than {MAX_URLS} types that this server does not have"))
            }
            false => Ok(()),
        }
    }

    pub(super) fn next(&mut self) -> Option<Answer> {
        let answer = self.answers.pop_front()?;
        self.load = self.load.minus(answer.load());
        Some(answer)
    }
}
