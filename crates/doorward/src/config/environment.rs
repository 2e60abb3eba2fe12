//! Our own environment: `DOORWARD_…` variables, and those that `env:NAME` names.

use std::collections::BTreeMap;

use super::source::{Place, Problem};

/// Environment variables; tests hold their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, Option<String>>);

/// The variables of scalar top-level keys, and the one that names the file.
pub(super) const KNOWN: [&str; 11] = [
    "DOORWARD_ADMIN_LISTEN",
    "DOORWARD_ALLOW_INSECURE_SHARED_UID",
    "DOORWARD_CONFIG",
    "DOORWARD_DATA",
    "DOORWARD_LISTEN",
    "DOORWARD_LOG",
    "DOORWARD_LOG_FORMAT",
    "DOORWARD_MAX_CONNECTIONS",
    "DOORWARD_MAX_CONNECTIONS_PER_ADDRESS",
    "DOORWARD_PUBLIC_URL",
    "DOORWARD_STORE",
];

impl Environment {
    /// The environment of this process.
    pub(crate) fn of_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            // Nobody can name a variable whose name is not text.
            Some((name.into_string().ok()?, value.into_string().ok()))
        });
        Self(variables.collect())
    }

    /// The value of a variable that is set, and is text.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_deref()
    }

    /// `DOORWARD_…` variables that mean nothing: a mistyped one must not be ignored in silence.
    pub(super) fn unknown(&self, problems: &mut Vec<Problem>) {
        for (name, value) in &self.0 {
            if !name.starts_with("DOORWARD_") || is_injected(name) {
                continue;
            }
            let place = || Place::Named(format!("environment variable {name}"));
            if !KNOWN.contains(&name.as_str()) {
                let problem = Problem::new(place(), format!("unknown variable `{}`", name.escape_debug()));
                problems.push(match super::parse::nearest(name, &KNOWN) {
                    Some(known) => problem.help(format!("did you mean `{known}`?")),
                    None => problem.help(format!("known are: {}", KNOWN.join(", "))),
                });
            } else if value.is_none() {
                problems.push(Problem::new(
                    place(),
                    format!("the value of `{name}` is not text (UTF-8)"),
                ));
            }
        }
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        variables.as_slice().into()
    }
}

#[cfg(test)]
impl From<&[(&str, &str)]> for Environment {
    fn from(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
        Self(variables.iter().map(owned).collect())
    }
}

/// What Kubernetes (and old Docker links) put into every container beside a service called `doorward`.
fn is_injected(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("DOORWARD_") else {
        return false;
    };
    let port = |text: &str| {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = text.split_at(digits);
        let rest = rest.strip_prefix("_TCP").or_else(|| rest.strip_prefix("_UDP"));
        !number.is_empty() && rest.is_some_and(|rest| matches!(rest, "" | "_PROTO" | "_PORT" | "_ADDR"))
    };
    matches!(rest, "PORT" | "SERVICE_HOST" | "SERVICE_PORT")
        || rest.starts_with("SERVICE_PORT_")
        || rest.strip_prefix("PORT_").is_some_and(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_variable_is_told_and_an_injected_one_is_not() {
        let environment = Environment::from([
            ("DOORWARD_LISTE", "x"),
            ("DOORWARD_LOG", "info"),
            ("DOORWARD_TELEPATHY", "on"),
            ("DOORWARD_PORT", "tcp://10.0.0.1:8080"),
            ("DOORWARD_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("DOORWARD_SERVICE_HOST", "10.0.0.1"),
            ("DOORWARD_SERVICE_PORT_HTTP", "8080"),
            ("LISTEN", "x"),
        ]);
        let mut problems = Vec::new();
        environment.unknown(&mut problems);
        let told: Vec<_> = problems
            .iter()
            .map(|problem| format!("{}: {}", problem.message, problem.help.join(" ")))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        unknown variable `DOORWARD_LISTE`: did you mean `DOORWARD_LISTEN`?
        unknown variable `DOORWARD_TELEPATHY`: known are: DOORWARD_ADMIN_LISTEN, DOORWARD_ALLOW_INSECURE_SHARED_UID, DOORWARD_CONFIG, DOORWARD_DATA, DOORWARD_LISTEN, DOORWARD_LOG, DOORWARD_LOG_FORMAT, DOORWARD_MAX_CONNECTIONS, DOORWARD_MAX_CONNECTIONS_PER_ADDRESS, DOORWARD_PUBLIC_URL, DOORWARD_STORE
        ");
    }
}
