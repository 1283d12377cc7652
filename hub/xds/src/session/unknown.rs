//! Types that this server does not have: each question is answered by "does not exist", and the stream stays open.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::budget::Load;
use crate::message::{Request, Response, Variant};
use crate::resource::{Name, Version};

/// Foreign type URLs remembered per stream; one more ends it.
const MAX_URLS: usize = 32;

/// An answer that has to go out.
#[derive(Debug)]
pub(super) struct Answer {
    url: Arc<str>,
    names: Vec<Name>,
}

/// What was asked about foreign types.
#[derive(Debug, Default)]
pub(super) struct UnknownTypes {
    asked: HashMap<Arc<str>, Vec<String>>,
    answers: VecDeque<Answer>,
    /// Of `asked` and `answers` together: URLs and names.
    load: Load,
    /// A type was asked for that is one too many.
    excess: bool,
}

// === impl Answer ===

impl Answer {
    fn load(&self) -> Load {
        load_of(&self.url, self.names.iter().map(|name| &**name))
    }

    /// The response: none of the names exists.
    pub(super) fn response<T>(self, variant: Variant, nonce: u64) -> Response<T> {
        Response {
            variant,
            ty: None,
            type_url: Cow::Owned(self.url.to_string()),
            nonce: nonce.to_string(),
            version: Version(0),
            system_version: None,
            resources: Vec::new(),
            removed: self.names,
        }
    }
}

fn load_of<'a>(url: &'a str, names: impl Iterator<Item = &'a str>) -> Load {
    Load::of(std::iter::once(url).chain(names))
}

// === impl UnknownTypes ===

impl UnknownTypes {
    /// Takes in a request; says whether the URL is new on this stream.
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

    /// What is remembered: URLs, the names asked for by each, and those of answers that have not gone out.
    pub(super) fn load(&self) -> Load {
        self.load
    }

    /// Says so if more types were asked for than a stream may.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.excess {
            true => Err(format!("the stream asks for more than {MAX_URLS} types that are not served here")),
            false => Ok(()),
        }
    }

    pub(super) fn next(&mut self) -> Option<Answer> {
        let answer = self.answers.pop_front()?;
        self.load = self.load.minus(answer.load());
        Some(answer)
    }
}
