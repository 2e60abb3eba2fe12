//! From events of the log to notes of a hop.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::follow;
use crate::hop::{Note, bounded};

/// The fields that are kept. Everything else stays in the log: a field that somebody adds is not kept before somebody
/// has asked whether it can hold a secret.
const KEPT: [&str; 18] = [
    "authentication",
    "client",
    "device",
    "error",
    "family",
    "grant",
    "grant_type",
    "method",
    "reason",
    "resource",
    "scopes",
    "server",
    "session_methods",
    "signed_in",
    "status",
    "token",
    "tokens",
    "user",
];

/// Takes the events that are logged while a request is followed, whatever level is configured for the log. Events of
/// other crates, below `info`, or outside of a request cost one look at a static.
pub fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    Notes.with_filter(filter_fn(is_ours).with_max_level_hint(LevelFilter::INFO))
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && *metadata.level() <= tracing::Level::INFO
        && metadata.target().starts_with("doorward")
}

struct Notes;

impl<S: Subscriber> Layer<S> for Notes {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        follow::with(|request| {
            let mut visitor = Visitor::default();
            event.record(&mut visitor);
            request.note(visitor.0);
        });
    }
}

#[derive(Default)]
struct Visitor(Note);

impl Visitor {
    fn keep(&mut self, field: &Field, text: &str) {
        match field.name() {
            "message" => self.0.message = bounded(text),
            "rule" => self.0.rule = Some(bounded(text)),
            name if KEPT.contains(&name) => {
                self.0.fields.insert(name.into(), bounded(text));
            }
            _ => {}
        }
    }
}

impl Visit for Visitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, if value { "true" } else { "false" });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, &value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        if !KEPT.contains(&name) && !matches!(name, "message" | "rule") {
            return;
        }
        let text = format!("{value:?}");
        // `?text` has quotes around it, `?Some(text)` a word more.
        let inner = text
            .strip_prefix("Some(")
            .and_then(|rest| rest.strip_suffix(')'))
            .unwrap_or(&text);
        if inner == "None" {
            return;
        }
        let plain = inner
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(inner);
        self.keep(field, plain);
    }
}
