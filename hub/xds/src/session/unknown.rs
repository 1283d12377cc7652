//! Types that this server does not have: each question is answered by "does not exist", and the stream stays open.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Session;
use crate::budget::Load;
use crate::message::{Request, Response};
use crate::resource::{Name, ResourceType, Version};

/// Foreign type URLs remembered per stream; a client that asks for more is not answered.
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
}

// === impl UnknownTypes ===

impl UnknownTypes {
    /// Takes in a request; says whether the URL is new on this stream.
    pub(super) fn request<T>(&mut self, url: &Arc<str>, req: &Request<T>) -> bool {
        let known = self.asked.get(url);
        let first = known.is_none();
        if url.is_empty() || (first && self.asked.len() >= MAX_URLS) {
            return false;
        }
        let more = known.is_some_and(|names| *names != req.names) || !req.subscribe.is_empty();
        self.asked.insert(url.clone(), req.names.clone());
        let waits = self.answers.iter().any(|answer| answer.url == *url && req.subscribe.is_empty());
        if (first || more) && !waits {
            let names = req.subscribe.iter().filter(|name| *name != "*").map(|name| name.as_str().into());
            let mut names: Vec<Name> = names.collect();
            names.sort();
            names.dedup();
            self.answers.push_back(Answer { url: url.clone(), names });
        }
        first
    }

    /// What is remembered: URLs, the names asked for by each, and those of answers that have not gone out.
    pub(super) fn load(&self) -> Load {
        let asked = self
            .asked
            .iter()
            .flat_map(|(url, names)| std::iter::once(&**url).chain(names.iter().map(String::as_str)));
        let unsent = self
            .answers
            .iter()
            .flat_map(|answer| std::iter::once(&*answer.url).chain(answer.names.iter().map(|name| &**name)));
        Load::of(asked.chain(unsent))
    }

    pub(super) fn next(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }
}

impl<T: ResourceType> Session<T> {
    pub(super) fn answer_unknown(&mut self, answer: Answer) -> Response<T> {
        Response {
            variant: self.variant,
            ty: None,
            type_url: Cow::Owned(answer.url.to_string()),
            nonce: self.take_nonce().to_string(),
            version: Version(0),
            system_version: None,
            resources: Vec::new(),
            removed: answer.names,
        }
    }
}
