//! A user and a password from the header Authorization: [`Credentials::parse`] (RFC 7617).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Maximum length of a header Authorization in bytes.
pub const MAX_HEADER: usize = 4096;

/// Maximum length of a user's name in bytes; htpasswd has the same.
pub const MAX_USER: usize = 255;

/// A user's name and password, as a client sent them.
///
/// [`fmt::Debug`] leaves the password out. A password may be longer than bcrypt's 72 bytes: then only its first 72 bytes
/// are compared, like htpasswd and Apache do.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

/// Why a header holds no credentials. The errors don't repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The scheme isn't Basic.
    #[error("the header Authorization has another scheme: send HTTP Basic")]
    Scheme,
    /// The header has more than [`MAX_HEADER`] bytes.
    #[error("the header Authorization is too long: send at most {MAX_HEADER} bytes")]
    TooLong,
    /// The text after the scheme isn't base64 with padding.
    #[error("the header Authorization isn't base64 with padding: send base64 of USER:PASSWORD")]
    Base64,
    /// The decoded bytes aren't UTF-8.
    #[error("the header Authorization isn't UTF-8: send base64 of USER:PASSWORD in UTF-8")]
    Utf8,
    /// The decoded text has no colon.
    #[error("the header Authorization has no colon: send base64 of USER:PASSWORD")]
    Colon,
    /// The user's name has more than [`MAX_USER`] bytes.
    #[error("the user's name is too long: send at most {MAX_USER} bytes")]
    User,
    /// The decoded text has control characters, which RFC 7617 forbids.
    #[error("the header Authorization has control characters: send a user and a password without")]
    Control,
}

// === impl Credentials ===

impl Credentials {
    /// Reads the value of a header Authorization. The scheme's case doesn't matter, and the first colon ends the user.
    ///
    /// # Errors
    /// Returns an error if it isn't HTTP Basic, or is too long.
    pub fn parse(header: &str) -> Result<Self, CredentialsError> {
        if header.len() > MAX_HEADER {
            return Err(CredentialsError::TooLong);
        }
        let (scheme, rest) = header.trim().split_once(' ').ok_or(CredentialsError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(CredentialsError::Scheme);
        }
        let bytes = STANDARD.decode(rest.trim_start()).map_err(|_| CredentialsError::Base64)?;
        let text = String::from_utf8(bytes).map_err(|_| CredentialsError::Utf8)?;
        let (user, password) = text.split_once(':').ok_or(CredentialsError::Colon)?;
        if user.len() > MAX_USER {
            return Err(CredentialsError::User);
        }
        if text.contains(char::is_control) {
            return Err(CredentialsError::Control);
        }
        Ok(Self { user: user.to_owned(), password: password.to_owned() })
    }

    /// Returns the user's name. It may be empty.
    pub fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}
