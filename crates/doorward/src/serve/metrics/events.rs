//! What the authorization server did, counted from the events that it logs, so that the log and the counters cannot
//! differ.

use std::fmt;
use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    event: &'static str,
    outcome: &'static str,
}

/// How a message begins, and what it is counted as. The first that fits.
const COUNTED: [(&str, &str, &str); 17] = [
    ("sign-in: done", "sign_in", "done"),
    ("sign-in: password right", "sign_in", "second_factor"),
    ("sign-in: ", "sign_in", "failed"),
    ("consent: given", "consent", "given"),
    ("consent: ", "consent", "refused"),
    ("token: code redeemed", "token_authorization_code", "issued"),
    ("token: refreshed", "token_refresh_token", "issued"),
    ("token: device code redeemed", "token_device_code", "issued"),
    (
        "token: issued to the client itself",
        "token_client_credentials",
        "issued",
    ),
    ("token: ", "token", "refused"),
    ("register: done", "registration", "done"),
    ("register: ", "registration", "refused"),
    ("device: approved", "device", "approved"),
    ("device: denied", "device", "denied"),
    ("revoke: done", "revocation", "done"),
    ("introspect: ", "introspection", "answered"),
    ("authorize: refused", "authorization", "refused"),
];

/// Shared with the log's layer, which is there before anything else.
static EVENTS: LazyLock<Family<Labels, Counter>> = LazyLock::new(|| {
    let family = Family::default();
    for (_, event, outcome) in COUNTED {
        // From the start on, so that a rate can be taken of the first one.
        drop(family.get_or_create(&Labels { event, outcome }));
    }
    family
});

pub(super) fn register(registry: &mut Registry) {
    let help = "What the authorization server did";
    registry.register("authorization_events", help, Family::clone(&EVENTS));
}

/// Counts events of the authorization server. Events of others cost nothing: whether a call site is one is asked once.
pub(crate) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    Counting.with_filter(filter_fn(is_counted).with_max_level_hint(LevelFilter::INFO))
}

fn is_counted(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    metadata.is_event()
        && *metadata.level() <= tracing::Level::INFO
        && (target.starts_with("doorward_web") || target.starts_with("doorward_authorization_server"))
}

struct Counting;

impl<S: Subscriber> Layer<S> for Counting {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        event.record(&mut Message);
    }
}

struct Message;

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            count(&format!("{value:?}"));
        }
    }
}

/// Counts an event by its message; one that is none of [`COUNTED`] is not counted.
pub(super) fn count(message: &str) {
    let known = COUNTED.iter().find(|(begins, ..)| message.starts_with(begins));
    if let Some((_, event, outcome)) = known {
        EVENTS.get_or_create(&Labels { event, outcome }).inc();
    }
}
