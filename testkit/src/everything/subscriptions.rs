//! Who listens for changes (2026-07-28, `subscriptions/listen`), and two tools that make them happen.

use std::collections::HashMap;
use std::time::Duration;

use rmcp::model::{CallToolResult, ContentBlock, Tool};
use rmcp::service::{SubscriptionContext, SubscriptionSink};
use tokio::sync::watch;

use super::plain_tool;

const TOOLS_CHANGE: &str = "test_trigger_tool_change";
const PROMPTS_CHANGE: &str = "test_trigger_prompt_change";

pub(super) fn tools() -> Vec<Tool> {
    vec![
        plain_tool(TOOLS_CHANGE, "Tells subscribers that the tools changed"),
        plain_tool(PROMPTS_CHANGE, "Tells subscribers that the prompts changed"),
    ]
}

pub(super) fn has(name: &str) -> bool {
    matches!(name, TOOLS_CHANGE | PROMPTS_CHANGE)
}

/// How long a change waits for subscriptions that are just being opened.
const OPENING: Duration = Duration::from_secs(1);

/// The open subscriptions.
///
/// rmcp acknowledges a subscription before it hands it over, so a client may cause a change that its new
/// subscription is not on the list for yet. What is about to be acknowledged is therefore counted.
#[derive(Default)]
pub(super) struct Subscriptions(watch::Sender<Open>);

#[derive(Default)]
struct Open {
    opening: u64,
    next: u64,
    sinks: HashMap<u64, SubscriptionSink>,
}

impl Subscriptions {
    /// A subscription is about to be acknowledged, and held.
    pub(super) fn expect(&self) {
        self.0.send_modify(|open| open.opening += 1);
    }

    /// Keeps a subscription open until its client ends it.
    pub(super) async fn hold(&self, subscription: &SubscriptionContext) {
        let mut number = 0;
        self.0.send_modify(|open| {
            open.opening = open.opening.saturating_sub(1);
            open.next += 1;
            number = open.next;
            open.sinks.insert(number, subscription.sink().clone());
        });
        subscription.cancelled().await;
        self.0.send_modify(|open| {
            open.sinks.remove(&number);
        });
    }

    /// Answers one of the two tools.
    pub(super) async fn announce(&self, name: &str) -> CallToolResult {
        let mut opening = self.0.subscribe();
        // A client that left before its acknowledgement stays counted: it is waited for once.
        let all_are_held = opening.wait_for(|open| open.opening == 0);
        if tokio::time::timeout(OPENING, all_are_held).await.is_err() {
            self.0.send_modify(|open| open.opening = 0);
        }
        let sinks: Vec<SubscriptionSink> = self.0.borrow().sinks.values().cloned().collect();
        for sink in sinks {
            // A subscription that did not ask for this kind, or has just ended, is passed over.
            let _passed_over = if name == TOOLS_CHANGE {
                sink.notify_tool_list_changed().await
            } else {
                sink.notify_prompt_list_changed().await
            };
        }
        CallToolResult::success(vec![ContentBlock::text("Whoever listens was told.")])
    }
}
