use super::*;
use crate::testing::headers;

fn challenge(lines: &[&str]) -> Challenge {
    let lines: Vec<_> = lines.iter().map(|line| ("www-authenticate", *line)).collect();
    Challenge::read(&headers(&lines), &UrlPolicy::strict())
}

fn written(challenge: &RawChallenge) -> String {
    let mut text = challenge.scheme.clone();
    if let Some(token) = &challenge.token68 {
        text.push_str(&format!(" <{token}>"));
    }
    for (name, value) in &challenge.parameters {
        text.push_str(&format!(" {name}=[{value}]"));
    }
    text
}

#[test]
fn cl_14_d5_challenges_are_read_as_rfc_9110_writes_them() {
    for (line, expected) in [
        ("Bearer", vec!["bearer"]),
        ("Bearer realm=\"a\"", vec!["bearer realm=[a]"]),
        (
            "bearer REALM = a , scope=\"a b\"",
            vec!["bearer realm=[a] scope=[a b]"],
        ),
        (
            "Basic realm=\"x, Bearer y=\\\"z\\\"\", Bearer a=b",
            vec!["basic realm=[x, Bearer y=\"z\"]", "bearer a=[b]"],
        ),
        (
            "Negotiate YWJj==, Bearer a=1",
            vec!["negotiate <YWJj==>", "bearer a=[1]"],
        ),
        ("Bearer abc", vec!["bearer <abc>"]),
        ("Bearer, DPoP algs=\"ES256\"", vec!["bearer", "dpop algs=[ES256]"]),
        (",, Bearer a=1 ,, b=2 ,", vec!["bearer a=[1] b=[2]"]),
        (
            "Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\"\", Basic realm=\"simple\"",
            vec![
                "newauth realm=[apps] type=[1] title=[Login to \"apps\"]",
                "basic realm=[simple]",
            ],
        ),
        ("", vec![]),
        // What cannot be read ends the line; complete challenges before it stay.
        ("Bearer a=\"open", vec![]),
        ("Basic realm=\"x\", Bearer a=\"open", vec!["basic realm=[x]"]),
        ("Bearer a=\"1\" b=\"2\"", vec![]),
        ("Bearer =1", vec![]),
        ("Bearer abc, x=y", vec![]),
        ("Bearer a=\"\u{7f}\"", vec![]),
        ("x=y", vec![]),
        ("\"Bearer\" a=1", vec![]),
    ] {
        let read: Vec<String> = parse_line(line.as_bytes()).iter().map(written).collect();
        assert_eq!(read, expected, "{line}");
    }
}

#[test]
fn d5_a9_the_challenge_of_the_specification() {
    let read = challenge(&[
        "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource\", scope=\"files:read  x\"",
    ]);
    assert_eq!(
        read.resource_metadata.unwrap().as_str(),
        "https://mcp.example.com/.well-known/oauth-protected-resource"
    );
    assert_eq!(read.scope.unwrap().to_string(), "files:read x");
    assert!(read.bearer && !read.dpop);
}

#[test]
fn cl_14_several_lines_and_schemes_have_one_meaning() {
    let read = challenge(&[
        "Basic realm=x",
        "DPoP algs=\"ES256\", scope=\"b\", error=\"use_dpop_nonce\"",
        "Bearer scope=\"a\"",
    ]);
    assert_eq!(read.scope.as_ref().unwrap().to_string(), "a");
    assert!(read.bearer && read.dpop && !read.requires_dpop() && read.asks_for_nonce());
    assert!(challenge(&["DPoP algs=\"ES256\""]).requires_dpop());
}

#[test]
fn cl_14_a_repeated_parameter_says_nothing() {
    let read = challenge(&[
        "Bearer resource_metadata=\"https://a.example/x\", resource_metadata=\"https://b.example/x\", scope=a",
    ]);
    assert_eq!(
        (read.resource_metadata, read.refused_resource_metadata),
        (None, None)
    );
    assert!(read.scope.is_some());
}

#[test]
fn cl_14_b20_b21_no_other_url_comes_out_than_one_that_is_used() {
    for bad in [
        "javascript:alert(1)",
        "http://a.example/x",
        "file:///etc/passwd",
        "https://u:p@a.example/",
        "/relative",
    ] {
        let read = challenge(&[&format!("Bearer resource_metadata=\"{bad}\"")]);
        assert_eq!(read.resource_metadata, None, "{bad}");
        assert!(
            read.refused_resource_metadata
                .is_some_and(|text| text.contains(bad)),
            "{bad}"
        );
    }
    let read = challenge(&["Bearer resource_metadata=\"http://127.0.0.1:1/x\""]);
    assert!(read.resource_metadata.is_some());
}

#[test]
fn cl_14_more_than_64_kib_say_nothing() {
    let long = format!("Bearer scope=a, x=\"{}\"", "y".repeat(MAX_BYTES));
    assert_eq!(challenge(&[&long]), Challenge::default());
    let many = vec!["Bearer scope=a"; 8];
    assert!(challenge(&many).scope.is_some());
}

#[test]
fn a9_scopes_that_are_none_make_the_list_worthless() {
    for bad in ["a\\\"b", "", " ", "\u{e4}"] {
        let line = HeaderValue(bad);
        assert_eq!(line.read().scope, None, "{bad:?}");
    }
}

struct HeaderValue<'a>(&'a str);

impl HeaderValue<'_> {
    fn read(&self) -> Challenge {
        let mut map = HeaderMap::new();
        let bytes = format!("Bearer scope=\"{}\"", self.0);
        map.insert(
            WWW_AUTHENTICATE,
            http::HeaderValue::from_bytes(bytes.as_bytes()).unwrap(),
        );
        Challenge::read(&map, &UrlPolicy::strict())
    }
}

proptest::proptest! {
    #[test]
    fn cl_14_never_panics_and_is_deterministic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        proptest::prop_assert_eq!(parse_line(&bytes), parse_line(&bytes));
    }

    #[test]
    fn cl_14_never_panics_near_the_grammar(text in "(Bearer|DPoP|Basic|a=b|scope|=|\"|\\\\|,| |x|resource_metadata=){0,24}") {
        for challenge in parse_line(text.as_bytes()) {
            proptest::prop_assert!(!challenge.scheme.is_empty());
            proptest::prop_assert!(challenge.token68.is_none() || challenge.parameters.is_empty());
        }
    }

    #[test]
    fn what_is_written_is_read_again(
        scheme in "[A-Za-z]{1,8}",
        parameters in proptest::collection::vec(("[a-z_]{1,10}", "[ !-~äß]{0,20}"), 1..5),
    ) {
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
        let list: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
        let read = parse_line(format!("{scheme} {}", list.join(", ")).as_bytes());
        proptest::prop_assert_eq!(read.len(), 1);
        proptest::prop_assert_eq!(&read[0].parameters, &parameters);
    }
}
