//! `doorward policy suggest`: a first table of scopes, from what a server says about itself.

use doorward_policy::Pattern;
use serde_json::json;

use super::ask::{Asking, Inventory};
use crate::config::Config;
use crate::error::CommandError;
use crate::output::{Format, Output};

/// Asks and writes.
pub(super) async fn run(config: Config, server: &str, output: &mut Output) -> Result<(), CommandError> {
    let path = config
        .servers
        .iter()
        .find(|known| known.name == server)
        .map(|known| known.path.clone());
    let asking = Asking::start(config).await?;
    let told = asking.inventory(&path.unwrap_or_default()).await;
    asking.stop().await;
    let mut inventory = told.map_err(|error| {
        CommandError::failed(format!("server `{server}` does not say what it offers"))
            .because(&error)
            .hint("does it run? a command must work with the `env` of its configuration")
    })?;
    let table = Table::suggest(server, &mut inventory);
    if table.scopes.is_empty() {
        return Err(CommandError::no(format!(
            "server `{server}` offers nothing that a scope could name"
        )));
    }
    if output.format == Format::Json {
        let scopes = table.scopes.iter().map(Suggested::to_json);
        return Ok(output.json(&json!({
            "server": server,
            "revision": inventory.revision,
            "scopes": scopes.collect::<serde_json::Map<_, _>>(),
            "left_out": table.left_out,
        }))?);
    }
    Ok(output.text(&table.to_toml(server, &inventory))?)
}

/// A table of scopes.
#[derive(Debug, Default)]
struct Table {
    scopes: Vec<Suggested>,
    /// What the server offers under names that a table cannot hold.
    left_out: Vec<String>,
}

#[derive(Debug, Default)]
struct Suggested {
    name: String,
    description: String,
    tools: Vec<String>,
    prompts: Vec<String>,
    resources: Vec<String>,
    implies: Vec<String>,
    step_up: bool,
}

impl Table {
    /// What says of itself that it only reads, in one scope; whatever else there is, in a stricter one.
    fn suggest(server: &str, inventory: &mut Inventory) -> Self {
        let left_out = Self::nameable(inventory);
        inventory.tools.sort_by(|one, other| one.name.cmp(&other.name));
        inventory.tools.dedup_by(|one, other| one.name == other.name);
        for names in [
            &mut inventory.prompts,
            &mut inventory.resources,
            &mut inventory.templates,
        ] {
            names.sort();
            names.dedup();
        }
        Self {
            left_out,
            ..Self::of(server, inventory)
        }
    }

    fn of(server: &str, inventory: &Inventory) -> Self {
        let (reading, others): (Vec<_>, Vec<_>) = inventory
            .tools
            .iter()
            // A tool that claims to read and to destroy does not know what it does.
            .partition(|tool| tool.read_only == Some(true) && tool.destructive != Some(true));
        let names =
            |tools: Vec<&super::ask::Tool>| tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>();
        let templates = inventory.templates.iter().map(|template| as_pattern(template));
        let read = Suggested {
            name: format!("{server}:read"),
            description: format!("Read with {server}"),
            tools: names(reading),
            prompts: inventory.prompts.clone(),
            resources: inventory.resources.iter().cloned().chain(templates).collect(),
            ..Suggested::default()
        };
        let read = (!read.is_empty()).then_some(read);
        let write = Suggested {
            name: format!("{server}:write"),
            description: format!("Change things with {server}"),
            tools: names(others),
            implies: read.iter().map(|read| read.name.clone()).collect(),
            // Something has to be asked for at the first login.
            step_up: read.is_some(),
            ..Suggested::default()
        };
        let write = (!write.tools.is_empty()).then_some(write);
        Self {
            scopes: read.into_iter().chain(write).collect(),
            left_out: Vec::new(),
        }
    }

    /// Without what cannot be named: a name that the configuration refuses, and one with a `*`, which would open more
    /// than itself.
    fn nameable(inventory: &mut Inventory) -> Vec<String> {
        let mut left_out = Vec::new();
        let mut keep = |kind: &str, name: &str, is: bool| {
            if !is {
                left_out.push(format!("{kind} {name:?}"));
            }
            is
        };
        inventory
            .tools
            .retain(|tool| keep("tool", &tool.name, is_tool_name(&tool.name)));
        inventory
            .prompts
            .retain(|name| keep("prompt", name, is_exact(name)));
        inventory
            .resources
            .retain(|uri| keep("resource", uri, is_exact(uri)));
        inventory
            .templates
            .retain(|template| keep("template", template, is_bounded(template)));
        left_out
    }

    fn to_toml(&self, server: &str, inventory: &Inventory) -> String {
        let unannotated = inventory.tools.iter().filter(|tool| tool.read_only.is_none());
        let mut text = format!(
            "# A first table of scopes for the server `{server}`, to review and to put below its `[[servers]]` entry.\n\
             # It is made of what the server says about itself (asked in {}). Annotations are the server's own claims:\n\
             # nothing here gives anybody a right that you did not mean to give, so read it before you use it. Every tool\n\
             # that does not claim to be read-only is in the strictest scope ({} of them say nothing at all).\n\
             # With the table, whatever no scope names is denied and hidden: tools that the server gets later too.\n",
            inventory.revision,
            unannotated.count(),
        );
        if !self.left_out.is_empty() {
            text.push_str("# Left out, and so closed, because no table can name it and it alone:\n");
        }
        for name in &self.left_out {
            text.push_str(&format!("#   {name}\n"));
        }
        for scope in &self.scopes {
            text.push_str(&format!(
                "\n[servers.scopes.{}]\ndescription = {}\n",
                quoted(&scope.name),
                quoted(&scope.description)
            ));
            for (key, names) in [
                ("tools", &scope.tools),
                ("prompts", &scope.prompts),
                ("resources", &scope.resources),
                ("implies", &scope.implies),
            ] {
                if !names.is_empty() {
                    text.push_str(&format!("{key} = {}\n", list(names)));
                }
            }
            if scope.step_up {
                text.push_str("step_up = true\n");
            }
        }
        text
    }
}

impl Suggested {
    fn is_empty(&self) -> bool {
        self.tools.is_empty() && self.prompts.is_empty() && self.resources.is_empty()
    }

    fn to_json(&self) -> (String, serde_json::Value) {
        let table = json!({
            "description": self.description,
            "tools": self.tools,
            "prompts": self.prompts,
            "resources": self.resources,
            "implies": self.implies,
            "step_up": self.step_up,
        });
        (self.name.clone(), table)
    }
}

/// A name that means itself in the configuration.
fn is_exact(name: &str) -> bool {
    name.parse::<Pattern>().is_ok_and(|pattern| pattern.is_exact())
}

/// Others are never let through either.
fn is_tool_name(name: &str) -> bool {
    let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    is_exact(name) && name.bytes().all(in_alphabet)
}

/// A template that says itself where its URIs lie: `{+uri}` would open everything.
fn is_bounded(template: &str) -> bool {
    let literal = template.split_once('{').map_or(template, |(before, _)| before);
    let begins = |(scheme, rest): (&str, &str)| !scheme.is_empty() && !rest.is_empty();
    let closed = template.matches('{').count() == template.matches('}').count();
    closed
        && !template.contains('*')
        && as_pattern(template).parse::<Pattern>().is_ok()
        && literal.split_once(':').is_some_and(begins)
}

/// The URIs that a template (RFC 6570) may lead to: its expressions stand for anything.
fn as_pattern(template: &str) -> String {
    let mut pattern = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        pattern.push_str(before);
        pattern.push('*');
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    pattern.push_str(rest);
    pattern
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    let line = format!("[{}]", quoted.join(", "));
    if line.len() <= 100 {
        return line;
    }
    let lines: String = quoted.iter().map(|name| format!("    {name},\n")).collect();
    format!("[\n{lines}]")
}

#[cfg(test)]
mod tests {
    use super::super::ask::Tool;
    use super::*;

    fn tool(name: &str, read_only: Option<bool>, destructive: Option<bool>) -> Tool {
        Tool {
            name: name.into(),
            read_only,
            destructive,
        }
    }

    #[test]
    fn what_does_not_claim_to_read_is_in_the_strictest_scope() {
        let mut inventory = Inventory {
            tools: vec![
                tool("get", Some(true), None),
                tool("drop", Some(false), Some(true)),
                tool("add", Some(false), Some(false)),
                tool("silent", None, None),
                tool("liar", Some(true), Some(true)),
            ],
            templates: vec!["file:///{+path}".into(), "db://{table}/{row}".into()],
            ..Inventory::default()
        };
        let table = Table::suggest("s", &mut inventory);
        let [read, write] = table.scopes.as_slice() else {
            panic!("{table:?}")
        };
        assert_eq!(read.tools, ["get"]);
        assert_eq!(read.resources, ["db://*/*", "file:///*"]);
        assert_eq!(write.tools, ["add", "drop", "liar", "silent"]);
        assert_eq!(
            (write.step_up, write.implies.as_slice()),
            (true, &["s:read".to_owned()][..])
        );
        assert!(!read.step_up && read.implies.is_empty());
        // Where nothing reads, the strict scope is what a first login asks for.
        let mut inventory = Inventory {
            tools: vec![tool("silent", None, None)],
            ..Inventory::default()
        };
        let table = Table::suggest("s", &mut inventory);
        assert!(table.scopes.len() == 1 && !table.scopes[0].step_up && table.scopes[0].implies.is_empty());
    }

    /// A server could name a prompt `*`, and have itself opened by whoever copies the table.
    #[test]
    fn names_that_would_open_more_than_themselves_are_left_out_and_told() {
        let mut inventory = Inventory {
            tools: vec![
                tool("get", Some(true), None),
                tool("*", Some(true), None),
                tool("näme", Some(true), None),
                tool("x y", None, None),
            ],
            prompts: vec!["*".into(), "ask".into(), "a\n[servers.scopes.evil]".into()],
            resources: vec!["file:///*".into(), "file:///a".into()],
            templates: [
                "*{x}",
                "db://{table}",
                "{+uri}",
                "{scheme}://{rest}",
                "file:///{",
                "a:{b}",
            ]
            .map(str::to_owned)
            .into(),
            ..Inventory::default()
        };
        let table = Table::suggest("s", &mut inventory);
        let [read] = table.scopes.as_slice() else {
            panic!("{table:?}")
        };
        assert_eq!((read.tools.len(), read.prompts.len()), (1, 1));
        assert_eq!(read.resources, ["file:///a", "db://*"]);
        assert_eq!(table.left_out.len(), 11, "{:?}", table.left_out);
        let text = table.to_toml("s", &inventory);
        let parsed: toml::Table = text.parse().unwrap();
        assert_eq!(parsed["servers"]["scopes"].as_table().unwrap().len(), 1, "{text}");
        assert!(
            text.contains(r#"#   prompt "a\n[servers.scopes.evil]""#),
            "{text}"
        );
    }

    #[test]
    fn names_of_any_kind_are_written_so_that_they_can_be_read_again() {
        let names = ["a\"b\\c", "näme", "x y"].map(ToOwned::to_owned);
        let mut inventory = Inventory {
            prompts: names.to_vec(),
            ..Inventory::default()
        };
        let text = Table::suggest("s", &mut inventory).to_toml("s", &inventory);
        let parsed: toml::Table = text.parse().unwrap();
        let prompts = parsed["servers"]["scopes"]["s:read"]["prompts"]
            .as_array()
            .unwrap();
        assert_eq!(prompts.len(), names.len());
        for name in names {
            assert!(
                prompts.iter().any(|prompt| prompt.as_str() == Some(&name)),
                "{name}"
            );
        }
    }
}
