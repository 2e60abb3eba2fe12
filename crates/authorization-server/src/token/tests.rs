use doorward_oauth::client_auth::Method;

use super::*;

const FORM: &[&str] = &["application/x-www-form-urlencoded"];

fn http<'a>(content_type: &'a [&'a str], body: &'a str) -> HttpRequest<'a> {
    HttpRequest {
        content_type,
        authorization: &[],
        query: None,
        body: body.as_bytes(),
    }
}

fn read(http: &HttpRequest<'_>) -> Result<GrantRequest, TokenRefusal> {
    parse(http, Grants::default()).map(|call| call.grant)
}

fn post(body: &str) -> Result<GrantRequest, TokenRefusal> {
    read(&http(FORM, body))
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
        let refused = read(&http(content_type, CODE)).unwrap_err();
        assert_eq!(
            (refused, refused.status()),
            (CallRefusal::ContentType.into(), 400),
            "{content_type:?}"
        );
    }
    for content_type in [
        "application/x-www-form-urlencoded;charset=UTF-8",
        "Application/X-WWW-Form-Urlencoded ; a=b",
    ] {
        assert!(read(&http(&[content_type], CODE)).is_ok(), "{content_type}");
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
                CallRefusal::Repeated.into(),
                "{name}"
            );
            assert_eq!(
                post(&format!("{base}&{name}=")).unwrap_err(),
                CallRefusal::Repeated.into(),
                "{name}"
            );
        }
    }
    let with_query = HttpRequest {
        query: Some("client_id=c"),
        ..http(FORM, CODE)
    };
    let refused = read(&with_query).unwrap_err();
    assert_eq!(
        (refused, refused.code()),
        (CallRefusal::ParametersInUrl.into(), ErrorCode::InvalidRequest)
    );
}

#[test]
fn tk_13_other_grants_and_grants_that_are_off_are_not_supported() {
    let off = Grants {
        client_credentials: false,
        device: false,
    };
    let jwt_bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    for grant in [
        "password",
        "client_credentials",
        DEVICE_CODE,
        "Authorization_Code",
        jwt_bearer,
        exchange,
    ] {
        let body = format!(
            "grant_type={}&client_id=c&code=x&device_code=y",
            grant.replace(':', "%3A")
        );
        let refused = parse(&http(FORM, &body), off).unwrap_err();
        assert_eq!(refused.code().as_str(), "unsupported_grant_type", "{grant}");
    }
    let on = Grants {
        client_credentials: true,
        device: true,
    };
    for (grant, more) in [("client_credentials", ""), (DEVICE_CODE, "&device_code=y")] {
        let body = format!("grant_type={}&client_id=c{more}", grant.replace(':', "%3A"));
        assert_eq!(parse(&http(FORM, &body), on).unwrap().grant.name(), grant);
    }
}

#[test]
fn an_empty_secret_is_no_secret() {
    let body = format!("{CODE}&client_secret=&client_assertion=");
    let call = parse(&http(FORM, &body), Grants::default()).unwrap();
    assert_eq!(call.presented.credential().method(), Method::None);
}

#[test]
fn tk_08_broken_credentials_are_refused_before_anything_is_looked_up() {
    for (extra, code, status) in [
        (
            "client_assertion=a.b.c&client_assertion_type=x",
            ErrorCode::InvalidClient,
            401,
        ),
        ("client_assertion=a.b.c", ErrorCode::InvalidRequest, 400),
        ("client_assertion_type=x", ErrorCode::InvalidRequest, 400),
    ] {
        let refused = post(&format!("{CODE}&{extra}")).unwrap_err();
        assert_eq!((refused.code(), refused.status()), (code, status), "{extra}");
    }
    let with_header = HttpRequest {
        authorization: &["Bearer x"],
        ..http(FORM, CODE)
    };
    assert_eq!(read(&with_header).unwrap_err().code(), ErrorCode::InvalidClient);
}

#[test]
fn missing_parameters_are_named() {
    for (body, name) in [
        ("client_id=c", "grant_type"),
        ("", "client_id"),
        ("grant_type=authorization_code&client_id=c", "code"),
        ("grant_type=authorization_code&code=x", "client_id"),
        ("grant_type=refresh_token&client_id=c", "refresh_token"),
        (
            "grant_type=refresh_token&refresh_token=&client_id=c",
            "refresh_token",
        ),
    ] {
        assert_eq!(
            post(body).unwrap_err(),
            CallRefusal::Missing(name).into(),
            "{body}"
        );
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
