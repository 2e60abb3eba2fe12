use super::*;

const FORM: &[&str] = &["application/x-www-form-urlencoded"];

fn post(body: &str) -> Result<GrantRequest, TokenRefusal> {
    parse(&HttpRequest {
        content_type: FORM,
        has_authorization: false,
        query: None,
        body: body.as_bytes(),
    })
}

const CODE: &str = "grant_type=authorization_code&code=dwc_x&client_id=c&code_verifier=v&redirect_uri=r";
const REFRESH: &str = "grant_type=refresh_token&refresh_token=dwr_x&client_id=c";

#[test]
fn both_grants_are_read() {
    assert!(
        matches!(post(CODE), Ok(GrantRequest::AuthorizationCode(request)) if request.client.as_str() == "c")
    );
    assert!(matches!(post(REFRESH), Ok(GrantRequest::RefreshToken(request)) if request.resource.is_empty()));
    assert!(matches!(post(&format!("{CODE}&resource=a&resource=b")),
        Ok(GrantRequest::AuthorizationCode(request)) if request.resource.len() == 2));
}

#[test]
fn tk_11_only_one_form_content_type() {
    for content_type in [
        &[][..],
        &["application/json"],
        &["multipart/form-data; boundary=x"],
        &["text/plain"],
        &["application/json, application/x-www-form-urlencoded"],
        &["application/x-www-form-urlencoded, application/json"],
        &[
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded",
        ],
        &["application/x-www-form-urlencodedx"],
    ] {
        let http = HttpRequest {
            content_type,
            has_authorization: false,
            query: None,
            body: CODE.as_bytes(),
        };
        let refused = parse(&http).unwrap_err();
        assert_eq!(
            (refused, refused.status()),
            (TokenRefusal::ContentType, 400),
            "{content_type:?}"
        );
    }
    for content_type in [
        "application/x-www-form-urlencoded;charset=UTF-8",
        "Application/X-WWW-Form-Urlencoded ; a=b",
    ] {
        let http = HttpRequest {
            content_type: &[content_type],
            has_authorization: false,
            query: None,
            body: CODE.as_bytes(),
        };
        assert!(parse(&http).is_ok(), "{content_type}");
    }
}

#[test]
fn tk_12_repeated_parameters_and_parameters_in_the_url() {
    for (name, _) in
        url::form_urlencoded::parse(CODE.as_bytes()).chain(url::form_urlencoded::parse(REFRESH.as_bytes()))
    {
        for base in [CODE, REFRESH]
            .into_iter()
            .filter(|base| base.contains(&format!("{name}=")))
        {
            assert_eq!(
                post(&format!("{base}&{name}=x")).unwrap_err(),
                TokenRefusal::Repeated,
                "{name}"
            );
            assert_eq!(
                post(&format!("{base}&{name}=")).unwrap_err(),
                TokenRefusal::Repeated,
                "{name}"
            );
        }
    }
    let http = HttpRequest {
        content_type: FORM,
        has_authorization: false,
        query: Some("client_id=c"),
        body: CODE.as_bytes(),
    };
    let refused = parse(&http).unwrap_err();
    assert_eq!(
        (refused, refused.code()),
        (TokenRefusal::ParametersInUrl, ErrorCode::InvalidRequest)
    );
}

#[test]
fn tk_13_other_grants_are_not_supported() {
    for grant in [
        "password",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:device_code",
        "Authorization_Code",
    ] {
        let refused = post(&format!("grant_type={grant}&client_id=c&code=x")).unwrap_err();
        assert_eq!(refused.code().as_str(), "unsupported_grant_type");
    }
}

#[test]
fn an_empty_secret_is_no_secret() {
    assert!(post(&format!("{CODE}&client_secret=&client_assertion=")).is_ok());
}

#[test]
fn tk_09_a_public_client_that_authenticates_is_refused() {
    for extra in [
        "client_secret=s",
        "client_assertion=a.b.c",
        "client_assertion_type=x",
    ] {
        let refused = post(&format!("{CODE}&{extra}")).unwrap_err();
        assert_eq!(
            (refused.code(), refused.status()),
            (ErrorCode::InvalidClient, 401),
            "{extra}"
        );
    }
    let http = HttpRequest {
        content_type: FORM,
        has_authorization: true,
        query: None,
        body: CODE.as_bytes(),
    };
    assert_eq!(parse(&http).unwrap_err(), TokenRefusal::ClientAuthentication);
}

#[test]
fn missing_parameters_are_named() {
    for (body, name) in [
        ("", "grant_type"),
        ("grant_type=authorization_code&client_id=c", "code"),
        ("grant_type=authorization_code&code=x", "client_id"),
        ("grant_type=refresh_token&client_id=c", "refresh_token"),
        (
            "grant_type=refresh_token&refresh_token=&client_id=c",
            "refresh_token",
        ),
    ] {
        assert_eq!(post(body).unwrap_err(), TokenRefusal::Missing(name), "{body}");
    }
}

#[test]
fn refusals_of_a_code_read_the_same() {
    let bodies = [
        TokenRefusal::UnknownCode,
        TokenRefusal::CodeRedeemed,
        TokenRefusal::CodeMismatch,
        TokenRefusal::CodeExpired,
    ]
    .map(|refusal| refusal.body());
    assert!(
        bodies
            .iter()
            .all(|body| *body == bodies[0] && body.error == ErrorCode::InvalidGrant)
    );
}
