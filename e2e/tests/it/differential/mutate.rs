//! Messages as attackers would write them: a good one, changed in up to four ways that readers of JSON and
//! HTTP are known to differ on. Everything follows from a number.

use std::mem::swap;

/// A reproducible stream of choices (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What is sent.
pub(super) struct Mutant {
    pub(super) body: Vec<u8>,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// JSON as text: keys and scalars are written as they will be sent, so they need not be right.
#[derive(Clone)]
enum Node {
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
    Raw(String),
}

fn text(text: &str) -> Node {
    Node::Raw(quoted(text))
}

/// Quoted, with nothing escaped but what must be: other characters are sent as they are.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn object<const N: usize>(members: [(&str, Node); N]) -> Node {
    let members = members.into_iter().map(|(key, node)| (quoted(key), node));
    Node::Object(members.collect())
}

impl Node {
    fn member(&mut self, key: &str) -> Option<&mut Self> {
        let key = quoted(key);
        self.members()?
            .iter_mut()
            .find(|(have, _)| *have == key)
            .map(|(_, node)| node)
    }

    fn members(&mut self) -> Option<&mut Vec<(String, Self)>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    fn write(&self, space: &mut dyn FnMut() -> &'static str, out: &mut String) {
        out.push_str(space());
        match self {
            Self::Raw(raw) => out.push_str(raw),
            Self::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    element.write(space, out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (index, (key, node)) in members.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { "," });
                    out.push_str(space());
                    out.push_str(key);
                    out.push_str(space());
                    out.push(':');
                    node.write(space, out);
                }
                out.push('}');
            }
        }
        out.push_str(space());
    }
}

struct Work {
    tree: Node,
    headers: Vec<(&'static str, String)>,
    /// The name in the message, and the one that it could be taken for.
    names: [&'static str; 2],
    /// The member of `params` that names what is acted on.
    named_by: &'static str,
}

type Mutation = fn(&mut Work, &mut Dice);

/// The mutant of a number.
pub(super) fn mutant(seed: u64) -> Mutant {
    let mut dice = Dice::new(seed);
    let mut work = good(&mut dice);
    let rounds = dice.pick(&[0, 1, 1, 1, 2, 2, 3, 4]);
    let mut bytes_too = false;
    for _ in 0..rounds {
        match dice.below(10) {
            0..=6 => dice.pick::<Mutation>(&OF_TREES)(&mut work, &mut dice),
            7 | 8 => headers(&mut work, &mut dice),
            _ => bytes_too = true,
        }
    }
    let mut body = String::new();
    let loose = dice.chance(30);
    let odd = dice.chance(3);
    let mut space = || {
        if odd && dice.chance(20) {
            return dice.pick(&[
                "\u{a0}", "\u{2028}", "\u{b}", "\u{c}", "\0", "/**/", "\u{85}", "\u{feff}",
            ]);
        }
        if loose {
            return dice.pick(&["", "", " ", "\n", "\r\n", "\t", "\r", "   \n\n"]);
        }
        ""
    };
    work.tree.write(&mut space, &mut body);
    let mut body = body.into_bytes();
    if bytes_too {
        body = bytes(body, &mut dice);
    }
    Mutant {
        body,
        headers: work.headers,
    }
}

/// A message that nothing is wrong with.
fn good(dice: &mut Dice) -> Work {
    let mut names = ["t_admin", "t_read"];
    if dice.chance(40) {
        names.reverse();
    }
    let (method, named_by) = dice.pick(&[
        ("tools/call", "name"),
        ("tools/call", "name"),
        ("tools/call", "name"),
        ("prompts/get", "name"),
        ("resources/read", "uri"),
    ]);
    let mut params = vec![(quoted(named_by), text(names[0]))];
    if method == "tools/call" {
        // Some readers of lines see an end in the last ones.
        let said = dice.pick(&[
            "x",
            "é",
            "a\u{2028}{\"params\":{\"name\":\"t_admin\"}}",
            "\u{85}",
            "\u{2029}b",
        ]);
        params.push((
            quoted("arguments"),
            object([("name", text(said)), ("n", Node::Raw("1.0".into()))]),
        ));
    }
    let mut headers = Vec::new();
    if dice.chance(60) {
        let meta = object([
            ("io.modelcontextprotocol/protocolVersion", text("2026-07-28")),
            ("io.modelcontextprotocol/clientCapabilities", object([])),
        ]);
        params.push((quoted("_meta"), meta));
        headers.push(("mcp-protocol-version", "2026-07-28".into()));
        headers.push(("mcp-method", method.into()));
        headers.push(("mcp-name", names[0].into()));
    } else if dice.chance(80) {
        let version = dice.pick(&["2025-11-25", "2025-06-18", "2025-03-26"]);
        headers.push(("mcp-protocol-version", version.into()));
    }
    let tree = object([
        ("jsonrpc", text("2.0")),
        ("id", Node::Raw("1".into())),
        ("method", text(method)),
        ("params", Node::Object(params)),
    ]);
    Work {
        tree,
        headers,
        names,
        named_by,
    }
}

const OF_TREES: [Mutation; 16] = [
    double,
    double,
    case_variant,
    case_variant,
    escape,
    escape,
    confuse_key,
    confuse_name,
    confuse_name,
    wrap,
    batch,
    identify,
    shuffle,
    retype,
    smuggle,
    swap_names,
];

/// The object that holds the message's own members, or `params`.
fn place<'a>(work: &'a mut Work, dice: &mut Dice) -> Option<(&'a mut Vec<(String, Node)>, &'static str)> {
    if dice.chance(60) {
        let named_by = work.named_by;
        let members = work.tree.member("params")?.members()?;
        return Some((members, named_by));
    }
    let key = dice.pick(&["method", "params"]);
    Some((work.tree.members()?, key))
}

/// What stands at `key` in a message that says the other thing.
fn other(key: &str, name: &str, dice: &mut Dice) -> Node {
    match key {
        "method" => text(dice.pick(&[
            "tools/list",
            "tools/call",
            "ping",
            "initialize",
            "server/discover",
        ])),
        "params" => object([
            ("name", text(name)),
            ("uri", text(name)),
            ("arguments", object([])),
        ]),
        _ => text(name),
    }
}

fn add(members: &mut Vec<(String, Node)>, key: String, node: Node, dice: &mut Dice) {
    let at = dice.below(members.len() + 1);
    members.insert(at, (key, node));
}

fn double(work: &mut Work, dice: &mut Dice) {
    let name = dice.pick(&work.names);
    if let Some((members, key)) = place(work, dice) {
        let node = other(key, name, dice);
        add(members, quoted(key), node, dice);
    }
}

fn case_variant(work: &mut Work, dice: &mut Dice) {
    let name = dice.pick(&work.names);
    let Some((members, key)) = place(work, dice) else {
        return;
    };
    let mut variant: Vec<char> = key.chars().collect();
    let at = dice.below(variant.len());
    match dice.below(3) {
        0 => variant[at] = variant[at].to_ascii_uppercase(),
        1 => variant.iter_mut().for_each(|c| *c = c.to_ascii_uppercase()),
        _ => {
            // Letters that simple case folding takes for s and k.
            variant.iter_mut().for_each(|c| {
                *c = match *c {
                    's' => 'ſ',
                    'k' => 'K',
                    'e' => 'E',
                    other => other,
                }
            });
        }
    }
    let node = other(key, name, dice);
    add(
        members,
        quoted(&variant.into_iter().collect::<String>()),
        node,
        dice,
    );
}

/// Writes characters of a key or a name as escapes, which changes nothing.
fn escape(work: &mut Work, dice: &mut Dice) {
    let Some((members, key)) = place(work, dice) else {
        return;
    };
    let Some((raw, node)) = members.iter_mut().find(|(have, _)| *have == quoted(key)) else {
        return;
    };
    let target = match node {
        Node::Raw(value) if value.starts_with('"') && dice.chance(60) => value,
        _ => raw,
    };
    let share = dice.pick(&[10, 50, 100]);
    // Mostly escapes that JSON has.
    let style = dice.below(16);
    let mut out = String::from("\"");
    for c in target.trim_matches('"').chars() {
        if dice.chance(share) && c != '\\' {
            let code = u32::from(c);
            match style {
                0..=3 => out.push_str(&format!("\\u{code:04X}")),
                4 => out.push_str(&format!("\\{c}")),
                5 => out.push_str(&format!("\\x{code:02x}")),
                6 => out.push_str(&format!("\\U{code:04x}")),
                _ => out.push_str(&format!("\\u{code:04x}")),
            }
        } else {
            out.push(c);
        }
    }
    out.push('"');
    *target = out;
}

const LOOK_ALIKES: [(char, char); 14] = [
    ('a', 'а'),
    ('a', 'ａ'),
    ('a', 'ⓐ'),
    ('a', 'ª'),
    ('d', 'ｄ'),
    ('e', 'е'),
    ('e', 'ｅ'),
    ('i', 'ı'),
    ('i', 'ｉ'),
    ('m', 'ｍ'),
    ('n', 'ｎ'),
    ('o', 'ｏ'),
    ('r', '𝐫'),
    ('t', '𝓽'),
];
const INVISIBLE: [&str; 12] = [
    "\u{200b}", "\u{200d}", "\u{ad}", "\u{feff}", "\u{2060}", " ", "\\u0000", "\\ud800", "\\u00ad",
    "\u{2028}", "\u{2029}", "\u{85}",
];

/// Another text that somebody could take for `text`.
fn look_alike(text: &str, dice: &mut Dice) -> String {
    let mut text = text.to_owned();
    match dice.below(4) {
        0 | 1 => {
            let (from, to) = dice.pick(&LOOK_ALIKES);
            text = text.replacen(from, &to.to_string(), 1);
        }
        2 => {
            let at = dice.below(text.len() + 1);
            text.insert_str(at, dice.pick(&INVISIBLE));
        }
        _ => {
            text = match dice.below(4) {
                0 => text.to_ascii_uppercase(),
                1 => format!(" {text}\\t"),
                2 => format!("x/../{text}"),
                _ => text.chars().map(wide).collect(),
            }
        }
    }
    format!("\"{text}\"")
}

fn wide(c: char) -> char {
    match c {
        '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap(),
        other => other,
    }
}

fn confuse_key(work: &mut Work, dice: &mut Dice) {
    let name = dice.pick(&work.names);
    let Some((members, key)) = place(work, dice) else {
        return;
    };
    let confusing = look_alike(key, dice);
    if dice.chance(50) {
        let node = other(key, name, dice);
        add(members, confusing, node, dice);
    } else if let Some((have, _)) = members.iter_mut().find(|(have, _)| *have == quoted(key)) {
        *have = confusing;
    }
}

fn confuse_name(work: &mut Work, dice: &mut Dice) {
    let name = dice.pick(&work.names);
    let named_by = work.named_by;
    let confusing = look_alike(name, dice);
    if let Some(node) = work
        .tree
        .member("params")
        .and_then(|params| params.member(named_by))
    {
        *node = Node::Raw(confusing.clone());
    }
    // A client that means it says the same in the header.
    if dice.chance(70) {
        let said = confusing.trim_matches('"').to_owned();
        set(work, "mcp-name", encoded(&said, dice));
    }
}

/// A value of `Mcp-Name`, as the specification writes what no header may hold, or as it stands.
fn encoded(said: &str, dice: &mut Dice) -> String {
    use base64::Engine as _;
    let plain = said.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    if plain && dice.chance(70) {
        return said.to_owned();
    }
    format!(
        "=?base64?{}?=",
        base64::engine::general_purpose::STANDARD.encode(said)
    )
}

fn wrap(work: &mut Work, dice: &mut Dice) {
    let tree = work.tree.clone();
    match dice.below(6) {
        0 => work.tree = object([("message", tree)]),
        1 => work.tree = object([("jsonrpc", text("2.0")), ("params", tree)]),
        2 => {
            if let Some(params) = work.tree.member("params") {
                *params = Node::Array(vec![params.clone()]);
            }
        }
        3 => {
            let name = dice.pick(&work.names);
            if let Some(params) = work.tree.member("params") {
                *params = Node::Array(vec![text(name)]);
            }
        }
        _ => {
            let depth = dice.pick(&[3, 100, 130, 3000]);
            let deep = Node::Raw(format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
            if let Some(arguments) = work
                .tree
                .member("params")
                .and_then(|params| params.member("arguments"))
            {
                *arguments = object([("deep", deep), ("name", text("t_admin"))]);
            }
        }
    }
}

fn batch(work: &mut Work, dice: &mut Dice) {
    let (one, name) = (work.tree.clone(), dice.pick(&work.names));
    let call = object([
        ("jsonrpc", text("2.0")),
        ("id", Node::Raw("2".into())),
        ("method", text("tools/call")),
        (
            "params",
            object([("name", text(name)), ("arguments", object([]))]),
        ),
    ]);
    work.tree = Node::Array(match dice.below(4) {
        0 => vec![one],
        1 => vec![one, call],
        2 => vec![call, one],
        _ => vec![Node::Array(vec![one, call])],
    });
}

fn identify(work: &mut Work, dice: &mut Dice) {
    let id = dice.pick(&[
        "1.0",
        "1e0",
        "-0",
        "1E400",
        "9007199254740993",
        "123456789012345678901234567890",
        "null",
        "true",
        "\"1\"",
        "\"\"",
        "[1]",
        "{\"name\":\"t_admin\"}",
        "\"t_admin\"",
        "01",
        "+1",
        "0x1",
        "NaN",
        "\"a\\u0000b\"",
    ]);
    match work.tree.member("id") {
        Some(node) if dice.chance(80) => *node = Node::Raw(id.into()),
        _ => {
            if let Some(members) = work.tree.members() {
                members.retain(|(key, _)| key != "\"id\"");
            }
        }
    }
}

fn shuffle(work: &mut Work, dice: &mut Dice) {
    for _ in 0..2 {
        if let Some((members, _)) = place(work, dice) {
            for at in (1..members.len()).rev() {
                members.swap(at, dice.below(at + 1));
            }
        }
    }
}

/// Something else than a string where one is expected, or another method.
fn retype(work: &mut Work, dice: &mut Dice) {
    let name = dice.pick(&work.names);
    let Some((members, key)) = place(work, dice) else {
        return;
    };
    let Some((_, node)) = members.iter_mut().find(|(have, _)| *have == quoted(key)) else {
        return;
    };
    *node = match (key, dice.below(6)) {
        ("method", 0) => text("tools/Call"),
        ("method", 1) => text("TOOLS/CALL"),
        ("method", 2) => text(" tools/call"),
        ("method", 3) => text("tools/call/"),
        ("method", _) => text(dice.pick(&[
            "prompts/get",
            "resources/read",
            "tools/call",
            "x/admin",
            "tools/list",
        ])),
        (_, 0) => Node::Array(vec![text(name)]),
        (_, 1) => Node::Raw("null".into()),
        (_, 2) => object([("name", text(name))]),
        (_, 3) => Node::Raw(format!("'{name}'")),
        (_, 4) => Node::Raw(name.into()),
        _ => Node::Raw("7".into()),
    };
}

/// Members that some readers act on although nobody defined them.
fn smuggle(work: &mut Work, dice: &mut Dice) {
    let name = dice.pick(&work.names);
    let key = dice.pick(&[
        "__proto__",
        "constructor",
        "tool",
        "toolName",
        "params.name",
        "name[]",
        "method",
        "$ref",
        "",
    ]);
    let node = other("params", name, dice);
    if let Some((members, _)) = place(work, dice) {
        let node = if dice.chance(50) { node } else { text(name) };
        add(members, quoted(key), node, dice);
    }
}

/// The other name in the message, and the header as it was, or the other way round.
fn swap_names(work: &mut Work, dice: &mut Dice) {
    let name = work.names[1];
    let named_by = work.named_by;
    if let Some(node) = work
        .tree
        .member("params")
        .and_then(|params| params.member(named_by))
    {
        *node = text(name);
    }
    if dice.chance(50) {
        set(work, "mcp-name", name.into());
    }
}

fn set(work: &mut Work, name: &str, value: String) {
    for (have, old) in &mut work.headers {
        if *have == name {
            old.clone_from(&value);
        }
    }
}

fn headers(work: &mut Work, dice: &mut Dice) {
    let name = dice.pick(&work.names);
    match dice.below(9) {
        0 => set(work, "mcp-name", name.into()),
        1 => {
            let value = encoded(name, dice);
            work.headers.push(("mcp-name", value));
        }
        2 => set(
            work,
            "mcp-method",
            dice.pick(&["tools/list", "tools/call", "Tools/Call", "ping", ""])
                .into(),
        ),
        3 => work
            .headers
            .push(("mcp-method", dice.pick(&["tools/call", "tools/list"]).into())),
        4 => {
            let version = dice.pick(&["2025-11-25", "2025-03-26", "2026-07-28", "2024-11-05", "1", ""]);
            set(work, "mcp-protocol-version", version.into());
        }
        5 => {
            let gone = dice.pick(&["mcp-name", "mcp-method", "mcp-protocol-version"]);
            work.headers.retain(|(have, _)| *have != gone);
        }
        6 => work.headers.push(("mcp-protocol-version", "2025-11-25".into())),
        7 => work.headers.push((
            dice.pick(&["mcp_name", "x-mcp-name", "mcp-tool-name", "mcp-param-name"]),
            name.into(),
        )),
        _ => work
            .headers
            .push(("content-type", "application/json; charset=utf-16".into())),
    }
}

/// What JSON cannot say.
fn bytes(mut body: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let at = dice.below(body.len() + 1);
    let insert = |mut body: Vec<u8>, at: usize, what: &[u8]| {
        body.splice(at..at, what.iter().copied());
        body
    };
    match dice.below(11) {
        0 => {
            body.truncate(at);
            body
        }
        1 => {
            let second = br#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"t_admin"}}"#;
            let between = dice.pick(&[&b""[..], b"\n", b"\r\n", b"\0", b",", b"\x1e", b"\xe2\x80\xa8"]);
            let mut parts = [body, second.to_vec()];
            if dice.chance(30) {
                let [one, other] = &mut parts;
                swap(one, other);
            }
            parts.join(between)
        }
        2 => insert(
            body,
            0,
            dice.pick(&[&b"\xef\xbb\xbf"[..], b"\0", b"\xff\xfe", b"//\n", b")]}'\n"]),
        ),
        3 | 4 => {
            let broken = dice.pick(&[
                &b"\xff"[..],
                b"\xc0\x80",
                b"\xed\xa0\x80",
                b"\xc1\xa1",
                b"\xe2\x80",
                b"\xf8",
            ]);
            let name = doorward_testkit::raw::find(&body, b"_admin").unwrap_or(at);
            insert(body, if dice.chance(70) { name } else { at }, broken)
        }
        5 => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let units = text.encode_utf16();
            if dice.chance(50) {
                units.flat_map(u16::to_le_bytes).collect()
            } else {
                units.flat_map(u16::to_be_bytes).collect()
            }
        }
        6 => insert(
            body,
            at,
            dice.pick(&[
                &b"\""[..],
                b"{",
                b"}",
                b",",
                b":",
                b"[",
                b"]",
                b"\\",
                b"/*",
                b"\n",
                b"\0",
            ]),
        ),
        7 => {
            let to = dice.pick(&["'", "`", "\\\""]);
            String::from_utf8_lossy(&body)
                .replacen('"', to, 1 + dice.below(6))
                .into_bytes()
        }
        8 => String::from_utf8_lossy(&body).replace('}', ",}").into_bytes(),
        9 => String::from_utf8_lossy(&body)
            .replacen("t_admin", "t_\\\nadmin", 1)
            .into_bytes(),
        _ => {
            if let Some(byte) = body.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
            body
        }
    }
}
