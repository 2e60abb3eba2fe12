//! Who listens for changes (2026-07-28, `subscriptions/listen`), and two tools that make them happen.

use std::collections::HashMap;
use std::sync::Mutex;

use rmcp::model::{CallToolResult, ContentBlock, Tool};
use rmcp::service::{SubscriptionContext, SubscriptionSink};

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

/// The open subscriptions.
#[derive(Default)]
pub(super) struct Subscriptions(Mutex<Open>);

#[derive(Default)]
struct Open {
    next: u64,
    sinks: HashMap<u64, SubscriptionSink>,
}

impl Subscriptions {
    /// Keeps a subscription open until its client ends it.
    pub(super) async fn hold(&self, subscription: &SubscriptionContext) {
        let number = {
            let mut open = self.0.lock().expect("no holder panicked");
            open.next += 1;
            let number = open.next;
            open.sinks.insert(number, subscription.sink().clone());
            number
        };
        subscription.cancelled().await;
        self.0.lock().expect("no holder panicked").sinks.remove(&number);
    }

    /// Answers one of the two tools.
    pub(super) async fn announce(&self, name: &str) -> CallToolResult {
        let sinks: Vec<SubscriptionSink> = {
            let open = self.0.lock().expect("no holder panicked");
            open.sinks.values().cloned().collect()
        };
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
