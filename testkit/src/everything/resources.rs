//! Resources: one text, one binary, one template, and the manifest of the skill.

use rmcp::ErrorData;
use rmcp::model::{
    CacheScope, ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate,
};
use serde_json::json;

use super::{KEEP, content, skills};

const TEXT: &str = "test://static-text";
const BINARY: &str = "test://static-binary";

pub(super) fn list() -> ListResourcesResult {
    ListResourcesResult::with_all_items(vec![
        Resource::new(TEXT, "Static text")
            .with_description("A text that never changes")
            .with_mime_type("text/plain"),
        Resource::new(BINARY, "Static image")
            .with_description("An image that never changes")
            .with_mime_type("image/png"),
        skills::manifest(),
    ])
    .with_ttl_ms(KEEP)
    .with_cache_scope(CacheScope::Public)
}

pub(super) fn templates() -> ListResourceTemplatesResult {
    ListResourceTemplatesResult::with_all_items(vec![
        ResourceTemplate::new("test://template/{id}/data", "Data of an id")
            .with_description("A document that names its id")
            .with_mime_type("application/json"),
    ])
    .with_ttl_ms(KEEP)
    .with_cache_scope(CacheScope::Public)
}

/// Answers `resources/read`.
///
/// # Errors
/// Not found, with the URI in `data` (SEP-2164).
pub(super) fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    if let Some(file) = skills::contents(uri) {
        return Ok(fresh(file));
    }
    let contents = match uri {
        TEXT => ResourceContents::text("This is the content of the static text resource.", uri)
            .with_mime_type("text/plain"),
        BINARY => ResourceContents::blob(content::PNG, uri).with_mime_type("image/png"),
        _ => {
            let id = uri
                .strip_prefix("test://template/")
                .and_then(|rest| rest.strip_suffix("/data"))
                .ok_or_else(|| {
                    ErrorData::resource_not_found("there is no such resource", Some(json!({ "uri": uri })))
                })?;
            let document = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
            ResourceContents::text(document.to_string(), uri).with_mime_type("application/json")
        }
    };
    Ok(fresh(contents))
}

fn fresh(contents: ResourceContents) -> ReadResourceResult {
    ReadResourceResult::new(vec![contents])
        .with_ttl_ms(KEEP)
        .with_cache_scope(CacheScope::Public)
}
