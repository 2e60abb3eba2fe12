//! A Doorward to be measured, and how it is configured.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use doorward_testkit::Doorward;

use crate::target::TOOL;

/// More than any load here asks for, so that limits are counted and never met. Loopback has no limit by address.
const HIGH: &str = "10000000/s";

/// What is switched on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gate {
    /// Tools that a table of scopes names; 0: no table, one scope opens everything.
    pub(crate) tools: usize,
    pub(crate) limits: bool,
    pub(crate) log: bool,
    pub(crate) policies: Policies,
}

/// Fifty Cedar policies, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policies {
    #[default]
    None,
    /// None reads arguments.
    Plain,
    /// One, about the tool that is called, reads its arguments.
    WithArguments,
}

impl Gate {
    /// Everything that is on without being asked for, and a table.
    pub(crate) const DEFAULT: Self = Self {
        tools: 10,
        limits: true,
        log: true,
        policies: Policies::None,
    };

    /// The configuration without its servers.
    pub(crate) fn common(self) -> String {
        let rate = if self.limits { HIGH } else { "off" };
        let streams = if self.limits { "256" } else { "\"off\"" };
        let mut text = String::new();
        if self.policies != Policies::None {
            text.push_str("[policy]\nfile = \"policy.cedar\"\n");
        }
        text.push_str("[limits]\n");
        for key in ["calls", "discovery", "tool", "address", "refused"] {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key} = \"{rate}\"");
        }
        let _ = writeln!(
            text,
            "streams = {streams}\n[decision_log]\nenabled = {}",
            self.log
        );
        text
    }

    /// A server of that name below `/NAME`.
    pub(crate) fn server(self, name: &str, upstream: &str) -> String {
        let mut text =
            format!("[[servers]]\nname = \"{name}\"\npath = \"/{name}/mcp\"\nupstream = \"{upstream}\"\n");
        if self.tools > 0 {
            // Three scopes: the first opens the tool, in the middle of its list; patterns are looked at as well.
            let names = |from: usize, to: usize| {
                let mut names: Vec<String> = (from..to).map(|number| format!("\"tool_{number}\"")).collect();
                if from == 0 {
                    names.insert(names.len() / 2, format!("\"{TOOL}\""));
                }
                names.join(", ")
            };
            let half = self.tools / 2;
            let _ = write!(
                text,
                "[servers.scopes.\"{name}:read\"]\ndescription = \"Read\"\ntools = [{}]\n\
                 [servers.scopes.\"{name}:write\"]\ndescription = \"Write\"\ntools = [{}]\nstep_up = true\n\
                 [servers.scopes.\"{name}:admin\"]\ndescription = \"Everything else\"\n\
                 tools = [\"admin_*\", \"*_all\"]\nimplies = [\"{name}:write\"]\nstep_up = true\n",
                names(0, half),
                names(half, self.tools),
            );
        }
        text
    }

    /// The policies as text: half permit a team its tool, half forbid, and one permits what is measured.
    pub(crate) fn cedar(self, server: &str) -> String {
        let mut text = format!("permit(principal, action, resource in Doorward::Server::\"{server}\");\n");
        for number in 0..24 {
            let _ = write!(
                text,
                "permit(principal in Doorward::Group::\"team{number}\", action, \
                 resource == Doorward::Tool::\"{server}/tool_{number}\");\n\
                 forbid(principal, action, resource) \
                 when {{ principal.name == \"guest{number}\" && context.client == \"phone\" }};\n"
            );
        }
        text.push_str(&match self.policies {
            Policies::WithArguments => format!(
                "forbid(principal, action, resource == Doorward::Tool::\"{server}/{TOOL}\") when {{ \
                 context.arguments.hasTag(\"text\") && context.arguments.getTag(\"text\") like \"/etc/*\" }};\n"
            ),
            _ => format!("forbid(principal, action, resource == Doorward::Tool::\"{server}/drop\");\n"),
        });
        text
    }

    /// Starts it with one server, `bench`, and one account.
    pub(crate) async fn start(self, upstream: &str, user: &str, password: &str) -> Result<Doorward> {
        self.start_with(None, upstream, user, password).await
    }

    /// [`Gate::start`] with another binary than the one of this build.
    pub(crate) async fn start_with(
        self,
        binary: Option<&Path>,
        upstream: &str,
        user: &str,
        password: &str,
    ) -> Result<Doorward> {
        let mut config = format!("{}{}", self.common(), self.server("bench", upstream));
        if binary.is_some() {
            // The harness switches it off for this build alone: older ones may not know the variable.
            config.insert_str(0, "admin_listen = \"off\"\n");
        }
        let mut builder = Doorward::builder().config(&config).user(user, password);
        if let Some(binary) = binary {
            builder = builder.binary(binary);
        }
        let doorward = builder.prepare();
        if self.policies != Policies::None {
            write(&doorward.home().join("policy.cedar"), &self.cedar("bench"))?;
        }
        doorward.spawn();
        doorward.ready().await;
        Ok(doorward)
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("{} could not be written", file.display()))
}
