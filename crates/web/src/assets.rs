//! Style sheet, icon and script. The name holds a digest of the content, so they are cached for ever and a new
//! release is seen at once.

use std::sync::LazyLock;

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use doorward_types::digest::Digest;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

struct Asset {
    name: String,
    content_type: &'static str,
    bytes: Bytes,
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, text: String) -> Self {
        let digest: String = Digest::of(text.as_bytes()).to_string().chars().take(12).collect();
        let name = format!("{stem}-{digest}.{extension}");
        Self {
            name,
            content_type,
            bytes: text.into(),
        }
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    // The sheet draws the icon in the colour of the scheme, so it has to know its name.
    let sheet = include_str!("../static/doorward.css").replace("ICON", &icon_path());
    Asset::new("doorward", "css", "text/css; charset=utf-8", sheet)
});
static ICON: LazyLock<Asset> = LazyLock::new(|| {
    let icon = include_str!("../static/door.svg");
    Asset::new("door", "svg", "image/svg+xml", icon.to_owned())
});

static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let script = include_str!("../static/passkey.js");
    Asset::new(
        "passkey",
        "js",
        "text/javascript; charset=utf-8",
        script.to_owned(),
    )
});

/// Path of the script that asks for passkeys.
pub(crate) fn script_path() -> String {
    format!("/static/{}", SCRIPT.name)
}

/// Path of the style sheet.
pub(crate) fn style_path() -> String {
    format!("/static/{}", STYLE.name)
}

/// Path of the icon.
pub(crate) fn icon_path() -> String {
    format!("/static/{}", ICON.name)
}

/// The file of this name; `None` if there is none.
pub(crate) fn serve(name: &str) -> Option<Response> {
    let asset = [&*STYLE, &*ICON, &*SCRIPT]
        .into_iter()
        .find(|asset| asset.name == name)?;
    let headers = [
        (CONTENT_TYPE, asset.content_type),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Some((headers, asset.bytes.clone()).into_response())
}
