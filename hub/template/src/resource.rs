//! Makes resources of rendered texts: [`Maker`].

use portreeve_api::c::envoy_config::{EnvoyApi, EnvoyConfigSpec, EnvoyResources, EnvoySecret, Serialization};
use prost_reflect::DynamicMessage;

use crate::descriptors::Descriptors;
use crate::error::{Error, Reason};
use crate::expand::Piece;
use crate::facts::Facts;
use crate::list::List;
use crate::message::{FieldError, Problem, Shaper};
use crate::rendered::{Rendered, Resource, Secret};
use crate::{convert, sockets, text, upstream};

/// Collects the resources of an EnvoyConfigSpec.
pub struct Maker<'a> {
    serialization: Serialization,
    v2: bool,
    facts: &'a Facts,
    descriptors: &'a Descriptors,
    made: Rendered,
}

// === impl Maker ===

impl<'a> Maker<'a> {
    /// Begins with no resource.
    pub fn new(spec: &EnvoyConfigSpec, facts: &'a Facts, descriptors: &'a Descriptors) -> Self {
        let v2 = spec.envoy_api() == EnvoyApi::V2;
        Self { serialization: spec.serialization(), v2, facts, descriptors, made: Rendered::default() }
    }

    /// Adds the resource of a text.
    ///
    /// # Errors
    /// Returns an error if the text is not a resource of its list, or not one that an account may have.
    pub fn add(&mut self, piece: Piece) -> Result<(), Error> {
        let Piece { list, from, name, instance, text } = piece;
        match self.resource(list, &from, &text) {
            Ok(()) => Ok(()),
            Err(reason) => Err(Error { from, name, instance, reason: reason.into() }),
        }
    }

    /// Returns all resources, and the references to secrets.
    pub fn finish(mut self, resources: &EnvoyResources) -> Rendered {
        let secrets = resources.secrets.iter().flatten().enumerate();
        let secret = |(index, secret): (usize, &EnvoySecret)| Secret {
            name: secret.name.clone(),
            reference: secret.reference.clone(),
            from: format!("envoyResources.secrets[{index}]"),
        };
        self.made.secrets = secrets.map(secret).collect();
        self.made
    }

    fn resource(&mut self, list: List, from: &str, text: &str) -> Result<(), Reason> {
        let mut message = self.message(list, text)?;
        let field = list.name_field();
        let name = message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned));
        let name = name.filter(|name| !name.is_empty()).ok_or(Reason::Unnamed { field })?;
        let earlier = self.list(list).iter().find(|earlier| earlier.name == name).cloned();
        let taken = if earlier.is_some() { &[] } else { self.made.sockets.as_slice() };
        let opened = match list {
            List::Listeners => sockets::confine(&mut message, self.facts, taken)?,
            _ => Vec::new(),
        };
        let value = convert::bytes(self.descriptors, &message);
        if let Some(earlier) = earlier {
            return match earlier.value == value {
                true => Ok(()),
                false => Err(Reason::Twice { name, other: earlier.from }),
            };
        }
        self.made.sockets.extend(opened);
        if list == List::Clusters {
            self.made.upstreams.push(upstream::of(&message));
        }
        let type_url = format!("type.googleapis.com/{}", list.message());
        self.list(list).push(Resource { name, type_url, value, from: from.to_owned() });
        Ok(())
    }

    /// Returns the message of a text, in Envoy's API v3.
    fn message(&self, list: List, text: &str) -> Result<DynamicMessage, Reason> {
        let mut value = text::parse(text, self.serialization)?;
        let whole = |error: String| {
            let path = list.field().to_owned();
            Reason::Field(FieldError { path, problem: Problem::Value(error) })
        };
        let descriptor =
            self.descriptors.message(list.message()).map_err(|error| whole(error.to_string()))?;
        let shaper = Shaper { descriptors: self.descriptors, v2: self.v2, upstream: list == List::Clusters };
        shaper.shape(&mut value, &descriptor).map_err(Reason::Field)?;
        convert::message(descriptor, value).map_err(|error| whole(error.to_string()))
    }

    fn list(&mut self, list: List) -> &mut Vec<Resource> {
        match list {
            List::Clusters => &mut self.made.clusters,
            List::Endpoints => &mut self.made.endpoints,
            List::Listeners => &mut self.made.listeners,
            List::Routes => &mut self.made.routes,
            List::Runtime => &mut self.made.runtimes,
        }
    }
}
