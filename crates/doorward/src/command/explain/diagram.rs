//! A trace for people: a sequence diagram in plain text, at most 100 columns wide.

use doorward_recorder::{Actor, Joined, Note, Summary};

use super::report::{Failure, Outcome, Report, Step};

/// Columns of the three lifelines.
const BROWSER: usize = 15;
const CLIENT: usize = 27;
const DOORWARD: usize = 91;
/// Where notes stand, and how wide they are.
const NOTES: usize = CLIENT + 4;
const NOTES_WIDTH: usize = DOORWARD - NOTES - 2;
/// Width of plain text.
const WIDTH: usize = 100;
/// Hops that are drawn; of more, the first and the last ones.
const DRAWN: usize = 200;

/// The whole answer, line by line.
pub(super) fn draw(report: &Report) -> Vec<String> {
    let mut lines = facts(report);
    lines.push(String::new());
    lines.push(format!("{:>19}{:>11}{:>66}", "Browser", "Client", "Doorward"));
    let left_out = report.hops.len().saturating_sub(DRAWN);
    for (number, step) in report.hops.iter().enumerate() {
        if left_out > 0 && number == DRAWN / 2 {
            let mut line = Line::new();
            line.write(NOTES, &format!("({left_out} more steps: see --format json)"));
            lines.push(line.finish());
        }
        if left_out == 0 || number < DRAWN / 2 || number >= DRAWN / 2 + left_out {
            lines.extend(drawn(step));
        }
    }
    lines.push(String::new());
    lines.extend(result(report));
    if report.hops.iter().any(|step| step.joined == Joined::ByAddress) {
        lines.extend(wrapped(
            "~",
            "joined by address: it came from the same address within ten minutes, and may be another login's.",
        ));
    }
    lines
}

/// One line of a list.
pub(super) fn in_one_line(summary: &Summary, report: &Report) -> String {
    let rule = report.failure.as_ref().and_then(|failure| failure.rule.as_ref());
    let outcome = match (report.outcome, rule) {
        (Outcome::Refused, Some(rule)) => format!("refused: {}", rule.id),
        (outcome, _) => word(outcome).into(),
    };
    let client = report.client.as_deref().unwrap_or("-");
    format!(
        "{}  {}  {:>4} steps  {outcome:<14}  {client}",
        summary.trace, report.begun, summary.hops
    )
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Token => "token",
        Outcome::Refused => "refused",
        Outcome::Unfinished => "unfinished",
    }
}

fn facts(report: &Report) -> Vec<String> {
    let mut lines = vec![format!("Trace     {}", report.trace)];
    let mut fact = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            lines.extend(wrapped(name, value));
        }
    };
    fact("Begun", Some(&report.begun));
    fact("Client", report.client.as_deref());
    fact("User", report.user.as_deref());
    fact("Resource", report.resource.as_deref());
    fact("Scopes", report.scopes.as_deref());
    lines
}

fn result(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let sentence = match report.outcome {
        Outcome::Token => "the client has got its token.",
        Outcome::Refused => "refused.",
        Outcome::Unfinished => "no refusal and no token: somebody stopped here, or still goes on.",
    };
    lines.extend(wrapped("Result", sentence));
    if let Some(failure) = &report.failure {
        lines.extend(failed(failure));
    }
    lines
}

fn failed(failure: &Failure) -> Vec<String> {
    let what = match &failure.reason {
        Some(reason) => format!("{} ({reason})", failure.what),
        None => failure.what.clone(),
    };
    let mut lines = wrapped("Failed", &what);
    let seconds = failure
        .retry_after
        .as_ref()
        .map(|seconds| format!("after {seconds} s"));
    for (name, value) in [
        ("Asked", &failure.asked),
        ("Needed", &failure.needed),
        ("Held", &failure.held),
        ("Policies", &failure.policies),
        ("Limit", &failure.limit),
        ("Again", &seconds),
    ] {
        if let Some(value) = value {
            lines.extend(wrapped(name, value));
        }
    }
    if let Some(rule) = &failure.rule {
        let text = format!("{}  {}", rule.id, rule.sentence.unwrap_or_default());
        lines.extend(wrapped("Rule", text.trim_end()));
        if let Some(clause) = rule.clause {
            lines.extend(wrapped("", clause));
        }
    }
    lines.extend(wrapped("To do", &failure.advice));
    lines
}

fn drawn(step: &Step) -> Vec<String> {
    let from = match step.from {
        Actor::Browser => BROWSER,
        Actor::Client => CLIENT,
    };
    let mut request = Line::new();
    request.write(0, &format!("{:>10}", offset(step.offset_ms)));
    if step.joined == Joined::ByAddress {
        request.write(11, "~");
    }
    request.arrow_to_doorward(from, &format!("{} {}", step.method, step.path));
    let mut lines = vec![request.finish()];
    for note in &step.notes {
        for text in wrap(&told(note), NOTES_WIDTH) {
            let mut line = Line::new();
            line.write(NOTES, &text);
            lines.push(line.finish());
        }
    }
    let first_call = step
        .notes
        .iter()
        .any(|note| note.message.starts_with("call: first"));
    if !first_call {
        let mut answer = Line::new();
        if step.failed {
            answer.write(11, "✗");
        }
        let status = step
            .status
            .map_or_else(|| "left before the answer".into(), |status| status.to_string());
        answer.arrow_from_doorward(from, &status);
        lines.push(answer.finish());
    }
    lines
}

fn told(note: &Note) -> String {
    let mut text = note.message.clone();
    let field = |name: &str| note.fields.get(name);
    if let Some(why) = field("reason").or_else(|| field("error")) {
        text.push_str(&format!(": {why}"));
    }
    if let Some(scopes) = field("scopes").filter(|scopes| !scopes.is_empty()) {
        text.push_str(&format!(" (scopes {scopes})"));
    }
    if let Some(rule) = &note.rule {
        text.push_str(&format!(" [{rule}]"));
    }
    text
}

fn offset(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..100 => format!("+{seconds}.{:03} s", millis % 1000),
        100..6000 => format!("+{}m {:02}s", seconds / 60, seconds % 60),
        6000..360_000 => format!("+{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("+{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// One row of characters with the three lifelines.
struct Line(Vec<char>);

impl Line {
    fn new() -> Self {
        let mut line = Self(vec![' '; DOORWARD + 1]);
        for lifeline in [BROWSER, CLIENT, DOORWARD] {
            line.write(lifeline, "│");
        }
        line
    }

    fn write(&mut self, at: usize, text: &str) {
        for (place, character) in self.0.iter_mut().skip(at).zip(text.chars()) {
            *place = if character.is_control() { '?' } else { character };
        }
    }

    fn rule(&mut self, from: usize) {
        for place in self.0.iter_mut().take(DOORWARD).skip(from + 1) {
            *place = '─';
        }
    }

    fn arrow_to_doorward(&mut self, from: usize, label: &str) {
        self.rule(from);
        self.write(DOORWARD - 1, ">");
        let room = DOORWARD - from - 7;
        self.write(from + 3, &format!(" {} ", shortened(label, room)));
    }

    fn arrow_from_doorward(&mut self, to: usize, label: &str) {
        self.rule(to);
        self.write(to + 1, "<");
        self.write(DOORWARD - 4 - label.chars().count(), &format!(" {label} "));
    }

    fn finish(self) -> String {
        self.0.into_iter().collect::<String>().trim_end().to_owned()
    }
}

fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.into();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// `name` in a column of its own, `text` beside it.
fn wrapped(name: &str, text: &str) -> Vec<String> {
    let lines = wrap(text, WIDTH - 10);
    lines
        .iter()
        .enumerate()
        .map(|(number, line)| {
            let name = if number == 0 { name } else { "" };
            format!("{name:<10}{line}").trim_end().to_owned()
        })
        .collect()
}

/// Breaks between words; a word that is too long is cut into pieces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split(' ') {
        let characters: Vec<char> = word.chars().collect();
        if length > 0 && length + 1 + characters.len() > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        for piece in characters.chunks(width) {
            if length + piece.len() > width {
                lines.push(std::mem::take(&mut line));
                length = 0;
            }
            line.extend(piece);
            length += piece.len();
        }
    }
    lines.push(line);
    lines
}
