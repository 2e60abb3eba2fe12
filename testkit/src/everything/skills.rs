//! A skill of two files, one of them in a folder (SEP-2640).

use rmcp::ErrorData;
use rmcp::model::{
    CacheScope, DIRECTORY_MIME_TYPE, GetSkillResult, ListResourcesResult, ListSkillsResult, Resource,
    ResourceContents, Skill, SkillFrontmatter, SkillResource, SkillResources,
};

use super::KEEP;

const NAME: &str = "greeting";
const DESCRIPTION: &str = "Greet people in the words of the house";
const ROOT: &str = "skill://doorward/greeting";
const MANIFEST: &str = "skill://doorward/greeting/SKILL.md";
const FOLDER: &str = "skill://doorward/greeting/references";

const FILES: [(&str, &str); 2] = [
    (
        MANIFEST,
        "---\nname: greeting\ndescription: Greet people in the words of the house\n---\n\n\
         Say hello. The words are in [references/words.md](references/words.md).\n",
    ),
    (
        "skill://doorward/greeting/references/words.md",
        "Welcome, and mind the step.\n",
    ),
];

fn skill() -> Skill {
    let files = FILES
        .iter()
        .map(|(uri, text)| SkillResource::from_bytes(*uri, text.as_bytes()))
        .collect();
    Skill::new(
        MANIFEST,
        SkillFrontmatter::new(NAME, DESCRIPTION),
        SkillResources::Files(files),
    )
}

pub(super) fn list() -> ListSkillsResult {
    ListSkillsResult::with_all_items(vec![skill()])
        .with_ttl_ms(KEEP)
        .with_cache_scope(CacheScope::Public)
}

/// Answers `skills/get`; `-32602` if there is no such skill.
pub(super) fn get(uri: &str) -> Result<GetSkillResult, ErrorData> {
    if uri != MANIFEST {
        return Err(ErrorData::invalid_params("there is no such skill", None));
    }
    Ok(GetSkillResult::new(skill())
        .with_ttl_ms(KEEP)
        .with_cache_scope(CacheScope::Public))
}

/// The direct children of a folder; `-32602` if it is none.
pub(super) fn directory(uri: &str) -> Result<ListResourcesResult, ErrorData> {
    let children = match uri {
        ROOT => vec![
            manifest(),
            Resource::new(FOLDER, "references").with_mime_type(DIRECTORY_MIME_TYPE),
        ],
        FOLDER => vec![file(FILES[1].0, "words.md")],
        _ => return Err(ErrorData::invalid_params("this is no folder", None)),
    };
    Ok(ListResourcesResult::with_all_items(children)
        .with_ttl_ms(KEEP)
        .with_cache_scope(CacheScope::Public))
}

/// The manifest as a resource: named and described by its frontmatter.
pub(super) fn manifest() -> Resource {
    file(MANIFEST, NAME).with_description(DESCRIPTION)
}

fn file(uri: &str, name: &str) -> Resource {
    Resource::new(uri, name).with_mime_type("text/markdown")
}

/// A file of the skill.
pub(super) fn contents(uri: &str) -> Option<ResourceContents> {
    let (_, text) = FILES.iter().find(|(file, _)| *file == uri)?;
    Some(ResourceContents::text(*text, uri).with_mime_type("text/markdown"))
}
