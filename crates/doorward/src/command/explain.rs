//! `doorward explain`: what happened in one login, and which rule ended it.

mod advice;
mod diagram;
mod report;
#[cfg(test)]
mod tests;

use clap::Args;
use doorward_recorder::{Found, ReadError, Reader, Summary};
use serde_json::json;

use super::Context;
use crate::error::CommandError;
use report::Report;

/// How many traces `--last` lists if it is not said.
const LAST: &str = "10";
/// Most traces of one list.
const MOST: u32 = 1000;

/// `doorward explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The id on an error page, in the header `Doorward-Trace` or in the log; the `decision_id` of a refused call; a
    /// client's own W3C trace id; or the id of a token family
    #[arg(
        value_name = "TRACE_OR_DECISION_ID",
        required_unless_present = "last",
        conflicts_with = "last"
    )]
    pub(crate) id: Option<String>,
    /// List the newest N traces instead
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = LAST)]
    pub(crate) last: Option<u32>,
}

/// Runs it.
pub(crate) fn run(args: &ExplainArgs, context: &mut Context) -> Result<(), CommandError> {
    let reader = Reader::open(&context.config.data.value).map_err(unreadable)?;
    match (&args.id, reader) {
        (Some(id), Some(reader)) => explain(id, &reader, context),
        (Some(id), None) => Err(unknown(id)),
        (None, Some(reader)) => {
            let count = args.last.unwrap_or_default().min(MOST);
            let traces = reader.last(count).map_err(unreadable)?;
            list(&traces, &reader, context)
        }
        (None, None) if context.is_json() => Ok(context.output.json(&json!([]))?),
        (None, None) => Ok(context.output.line("nothing was recorded yet")?),
    }
}

fn explain(id: &str, reader: &Reader, context: &mut Context) -> Result<(), CommandError> {
    match reader.find(id).map_err(unreadable)? {
        Found::Nothing => Err(unknown(id)),
        Found::Several(traces) => {
            if !context.is_json() {
                context
                    .output
                    .line("Several logins have this id, which is their client's. Ask for one of them:")?;
            }
            list(&traces, reader, context)
        }
        Found::Trace {
            trace,
            hops,
            decision,
        } => {
            let report = Report::new(trace, hops, decision);
            if context.is_json() {
                return Ok(context.output.json(&report)?);
            }
            for line in diagram::draw(&report) {
                context.output.line(line)?;
            }
            Ok(())
        }
    }
}

fn list(traces: &[Summary], reader: &Reader, context: &mut Context) -> Result<(), CommandError> {
    let mut reports = Vec::with_capacity(traces.len());
    for summary in traces {
        let hops = reader.hops(summary.trace).map_err(unreadable)?;
        reports.push((summary, Report::new(summary.trace, hops, None)));
    }
    if context.is_json() {
        let rows = reports.iter().map(|(summary, report)| {
            json!({
                "trace": summary.trace,
                "begun": summary.begun.to_string(),
                "last": summary.last.to_string(),
                "steps": summary.hops,
                "outcome": report.outcome,
                "client": report.client,
                "rule": report.failure.as_ref().and_then(|failure| failure.rule.as_ref()).map(|rule| &rule.id),
            })
        });
        return Ok(context.output.json(&rows.collect::<Vec<_>>())?);
    }
    if reports.is_empty() {
        context.output.line("nothing was recorded yet")?;
    }
    for (summary, report) in reports {
        context.output.line(diagram::in_one_line(summary, &report))?;
    }
    Ok(())
}

fn unknown(id: &str) -> CommandError {
    let shown: String = id.chars().take(80).collect();
    CommandError::no(format!("nothing is known of `{shown}`"))
        .hint("ids are on error pages, in the header Doorward-Trace, in the log, and as decision_id in refused calls")
        .hint("steps are kept for 7 days, the newest 200000; name the right data folder with --data or --config")
        .hint("`doorward explain --last` lists the newest logins")
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn unreadable(error: ReadError) -> CommandError {
    CommandError::failed("the recorded logins cannot be read")
        .because(&error)
        .hint("nothing else depends on traces.db: it may be removed while no server runs")
}
