//! HTTP Basic: [`Credentials`] from a request, [`Htpasswd`] from a Secret's key `auth`, and the [`Scope`] of the Secret's
//! namespace (seed C.5, C.6 "Users").

mod credentials;
mod htpasswd;
mod problem;
mod scope;

pub use credentials::{Credentials, CredentialsError, MAX_HEADER, MAX_USER};
pub use htpasswd::{Htpasswd, MAX_USERS};
pub use problem::{MAX_COST, Problem, Why};
pub use scope::Scope;
