//! Just enough HTML to fill in forms: tags with attributes, in order.

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name in lower case, with a leading `/` if it closes.
    pub name: String,
    /// Its attributes, values decoded.
    pub attributes: Vec<(String, String)>,
    /// The text until the next tag, decoded.
    pub text: String,
}

impl Tag {
    /// An attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether an attribute is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// One form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Where it goes, as written.
    pub action: String,
    /// `get` or `post`.
    pub method: String,
    /// What it sends when nobody touches it.
    pub inputs: Vec<Input>,
    /// Its submit buttons: name, value, label.
    pub buttons: Vec<Button>,
}

/// One field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// `text`, `hidden`, `password`, `checkbox`…
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// For check boxes: whether it is ticked.
    pub checked: bool,
}

/// A submit button.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Button {
    /// Its name, if it has one.
    pub name: String,
    /// What it sends.
    pub value: String,
    /// What it says.
    pub label: String,
    /// Whether the page focuses it by itself.
    pub autofocus: bool,
}

impl Form {
    /// Whether it has a field of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.inputs.iter().any(|input| input.name == name)
    }

    /// The value of a field.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.inputs
            .iter()
            .find(|input| input.name == name)
            .map(|input| input.value.as_str())
    }

    /// Writes a field, adding it if the form has none of that name.
    pub fn fill(&mut self, name: &str, value: &str) {
        match self.inputs.iter_mut().find(|input| input.name == name) {
            Some(input) => input.value = value.into(),
            None => self.inputs.push(Input {
                kind: "text".into(),
                name: name.into(),
                value: value.into(),
                checked: false,
            }),
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) {
        self.inputs.retain(|input| input.name != name);
    }

    /// Ticks every box.
    pub fn tick_all(&mut self) {
        for input in self.inputs.iter_mut().filter(|input| input.kind == "checkbox") {
            input.checked = true;
        }
    }

    /// The fields as sent when `button` (by value) is pressed; without one if empty.
    #[must_use]
    pub fn fields(&self, button: &str) -> Vec<(String, String)> {
        let mut out: Vec<_> = self
            .inputs
            .iter()
            .filter(|input| !input.name.is_empty() && (input.kind != "checkbox" || input.checked))
            .map(|input| (input.name.clone(), input.value.clone()))
            .collect();
        if let Some(pressed) = self
            .buttons
            .iter()
            .find(|have| have.value == button && !have.name.is_empty())
        {
            out.push((pressed.name.clone(), pressed.value.clone()));
        }
        out
    }
}

/// The tags of a page.
#[must_use]
pub fn tags(page: &str) -> Vec<Tag> {
    let mut out = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let (mut tag, after) = tag(rest);
        rest = after;
        if matches!(tag.name.as_str(), "script" | "style") {
            let close = format!("</{}", tag.name);
            let end = rest.to_ascii_lowercase().find(&close).unwrap_or(rest.len());
            tag.text = rest[..end].to_owned();
            rest = &rest[end..];
        } else {
            let end = rest.find('<').unwrap_or(rest.len());
            tag.text = decode(&rest[..end]);
            rest = &rest[end..];
        }
        if !tag.name.is_empty() {
            out.push(tag);
        }
    }
    out
}

fn tag(text: &str) -> (Tag, &str) {
    let end = text
        .find(|c: char| c.is_whitespace() || c == '>')
        .unwrap_or(text.len());
    let name = text[..end].trim_end_matches('/').to_ascii_lowercase();
    let mut attributes = Vec::new();
    let mut rest = &text[end..];
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            break;
        }
        if let Some(after) = rest.strip_prefix('>') {
            rest = after;
            break;
        }
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/'))
            .unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start();
            let (quoted, stop) = match after.chars().next() {
                Some(quote @ ('"' | '\'')) => (&after[1..], Some(quote)),
                _ => (after, None),
            };
            let end = match stop {
                Some(quote) => quoted.find(quote),
                None => quoted.find(|c: char| c.is_whitespace() || c == '>'),
            }
            .unwrap_or(quoted.len());
            value = &quoted[..end];
            rest = &quoted[end..];
            if let Some(quote) = stop {
                rest = rest.strip_prefix(quote).unwrap_or(rest);
            }
        }
        attributes.push((name, decode(value)));
    }
    (
        Tag {
            name,
            attributes,
            text: String::new(),
        },
        rest,
    )
}

/// Resolves character references.
#[must_use]
pub fn decode(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(';').filter(|end| *end < 12);
        let found = end.and_then(|end| {
            let name = &rest[1..end];
            let character = match name {
                "amp" => Some('&'),
                "lt" => Some('<'),
                "gt" => Some('>'),
                "quot" => Some('"'),
                "apos" => Some('\''),
                "nbsp" => Some('\u{a0}'),
                _ => name.strip_prefix('#').and_then(|number| {
                    number
                        .strip_prefix(['x', 'X'])
                        .map_or_else(|| number.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
                        .and_then(char::from_u32)
                }),
            };
            character.map(|character| (character, end))
        });
        if let Some((character, end)) = found {
            out.push(character);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// The forms of a page.
#[must_use]
pub fn forms(page: &str) -> Vec<Form> {
    let mut out: Vec<Form> = Vec::new();
    let mut open = false;
    for tag in tags(page) {
        match tag.name.as_str() {
            "form" => {
                open = true;
                out.push(Form {
                    action: tag.get("action").unwrap_or_default().into(),
                    method: tag.get("method").unwrap_or("get").to_ascii_lowercase(),
                    ..Form::default()
                });
            }
            "/form" => open = false,
            "input" | "button" | "textarea" if open => {
                let Some(form) = out.last_mut() else { continue };
                let default = if tag.name == "button" { "submit" } else { "text" };
                let kind = tag.get("type").unwrap_or(default).to_ascii_lowercase();
                let name = tag.get("name").unwrap_or_default().to_owned();
                let value = tag.get("value").unwrap_or_default().to_owned();
                if kind == "submit" {
                    let label = if tag.name == "button" {
                        tag.text.trim().into()
                    } else {
                        value.clone()
                    };
                    form.buttons.push(Button {
                        name,
                        value,
                        label,
                        autofocus: tag.has("autofocus"),
                    });
                } else {
                    let value = if kind == "checkbox" && !tag.has("value") {
                        "on".into()
                    } else {
                        value
                    };
                    form.inputs.push(Input {
                        kind,
                        name,
                        value,
                        checked: tag.has("checked"),
                    });
                }
            }
            _ => {}
        }
    }
    out
}

/// The words a person sees.
#[must_use]
pub fn text(page: &str) -> String {
    let mut words = Vec::new();
    for tag in tags(page) {
        if !matches!(tag.name.as_str(), "script" | "style" | "title") {
            words.extend(tag.text.split_whitespace().map(str::to_owned));
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_form_as_a_browser_would() {
        let page = r#"<!doctype html><!-- <form> --><form action="/consent?a&amp;b" method=POST>
            <input type=hidden name="csrf" value="x&quot;y"><label><input type="checkbox" name="scope" value="a" checked> Read</label>
            <input type='checkbox' name='scope' value='b'/><button name="decision" value="approve">Yes &amp; go</button>
            <button name=decision value=deny type=submit>No</button></form>"#;
        let form = forms(page).remove(0);
        assert_eq!(
            (form.action.as_str(), form.method.as_str()),
            ("/consent?a&b", "post")
        );
        assert_eq!(form.buttons[0].label, "Yes & go");
        let sent = form.fields("deny");
        let sent: Vec<_> = sent
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(sent, [("csrf", "x\"y"), ("scope", "a"), ("decision", "deny")]);
    }
}
