use super::*;

/// Every metric that is served, and its kind.
fn served(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

#[test]
fn the_documentation_has_every_metric_and_no_other() {
    let metrics = Metrics::new();
    // A family without members is not shown.
    drop(metrics.server("files", std::iter::empty()));
    let text = metrics.text(Snapshot::default()).unwrap();
    let page = include_str!("../../../../../docs/observability.md");
    let documented: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `doorward_"))
        .filter_map(|line| line.split_once("` | "))
        .map(|(name, rest)| {
            let kind = rest.split(" |").next().unwrap_or_default();
            (format!("doorward_{name}"), kind.to_owned())
        })
        .collect();
    assert_eq!(served(&text), documented);
}

#[test]
fn lk_03_only_tools_of_the_configuration_are_labels() {
    let metrics = Metrics::new();
    let names: Vec<String> = (0..1000).map(|number| format!("tool{number}")).collect();
    let server = metrics.server("files", names.iter().map(String::as_str));
    assert_eq!(server.tools.len(), TOOLS);
    let text = metrics.text(Snapshot::default()).unwrap();
    let series = text
        .lines()
        .filter(|line| line.starts_with("doorward_tool_calls_total"));
    assert_eq!(series.count(), (TOOLS + 1) * Outcome::ALL.len());
}

#[test]
fn events_are_counted_by_what_they_say() {
    let count_of = |event: &str, outcome: &str| {
        let text = Metrics::new().text(Snapshot::default()).unwrap();
        let begins =
            format!("doorward_authorization_events_total{{event=\"{event}\",outcome=\"{outcome}\"}} ");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&begins).map(str::to_owned));
        line.unwrap().parse::<u64>().unwrap()
    };
    let before = count_of("sign_in", "failed");
    events::count("sign-in: failed, wrong code");
    events::count("something else");
    assert!(count_of("sign_in", "failed") > before);
}
