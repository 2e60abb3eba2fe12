//! What a session tells the person at the terminal while it works.

use std::fmt;

use url::Url;

/// Something that a person should know, or do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Open this, and log in. Always told, in one line, whether or not a browser starts.
    LogIn(Url),
    /// The address that the browser ends at can be pasted here.
    MayPaste,
    /// No browser starts by itself.
    NoBrowser(String),
    /// The words of a device authorization (RFC 8628 §3.3).
    OnAnotherDevice(String),
    /// Another process is at it.
    Waiting {
        /// Its process id.
        pid: Option<u32>,
        /// Where its user logs in.
        authorization_url: Option<String>,
    },
    /// Logged in, by this process or another.
    LoggedIn {
        /// The issuer.
        issuer: String,
    },
    /// New tokens could not be written down; they are used as long as this process lives.
    NotKept(String),
    /// A pasted text is not the answer.
    NotAnAnswer(String),
    /// The tokens are no longer any good, and a new login begins.
    LoginEnded(String),
}

impl Notice {
    /// Whether it is told even with `--quiet`: somebody has to act, or loses something.
    #[must_use]
    pub const fn is_important(&self) -> bool {
        !matches!(self, Self::LoggedIn { .. } | Self::LoginEnded(_))
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LogIn(url) => write!(f, "open in a browser: {url}"),
            Self::MayPaste => f.write_str(
                "or open it on another machine, log in there, and paste the address that the browser ends at here",
            ),
            Self::NoBrowser(why) => write!(f, "{why}: open the address yourself"),
            Self::OnAnotherDevice(words) => f.write_str(words),
            Self::Waiting { pid, authorization_url } => {
                f.write_str("another doorward ")?;
                if let Some(pid) = pid {
                    write!(f, "(pid {pid}) ")?;
                }
                f.write_str("is logging in")?;
                match authorization_url {
                    Some(url) => write!(f, ": {url}"),
                    None => Ok(()),
                }
            }
            Self::LoggedIn { issuer } => write!(f, "logged in at {issuer}"),
            Self::NotKept(why) => write!(
                f,
                "the new tokens could not be written down, and will be lost when this program ends: {why}"
            ),
            Self::NotAnAnswer(why) => write!(f, "that is not it: {why}"),
            Self::LoginEnded(why) => write!(f, "the login has ended ({why}): logging in again"),
        }
    }
}

/// Where notices go.
pub trait Tell: Send + Sync + 'static {
    /// Tells one. Texts of servers in it are escaped by whoever prints it.
    fn tell(&self, notice: &Notice);
}

impl<F: Fn(&Notice) + Send + Sync + 'static> Tell for F {
    fn tell(&self, notice: &Notice) {
        self(notice);
    }
}
