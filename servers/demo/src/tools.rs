//! The tools, as clients see them.

use std::sync::Arc;

use http::request::Parts;
use rmcp::handler::server::common::Extension;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::notes::{Note, Notes, without_format};

/// What `whoami` answers.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct WhoAmI {
    /// False if this server was not told who calls.
    pub(crate) known: bool,
    /// The name the user signs in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    /// The client that acts for the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    /// What the user allowed that client.
    pub(crate) scopes: Vec<String>,
}

/// What `list_notes` answers.
#[derive(Debug, Serialize, JsonSchema)]
struct NoteList {
    /// The caller's notes, oldest first.
    notes: Vec<Note>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct EchoArguments {
    /// The text to send back.
    text: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct NoteText {
    /// The text of the note, at most 2000 bytes.
    text: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct NoteNumber {
    /// The note's number, as list_notes and add_note give it.
    #[schemars(transform = without_format)]
    id: u64,
}

/// The tools of one session or request.
#[derive(Clone, Debug)]
pub(crate) struct DemoTools {
    notes: Arc<Notes>,
}

impl DemoTools {
    pub(crate) fn new(notes: Arc<Notes>) -> Self {
        Self { notes }
    }
}

#[tool_router]
impl DemoTools {
    #[tool(
        description = "Tells who is calling: the signed-in user's name, the client that acts for the user, and the scopes it was allowed. Takes no arguments.",
        annotations(title = "Who am I", read_only_hint = true, open_world_hint = false)
    )]
    async fn whoami(&self, Extension(parts): Extension<Parts>) -> Json<WhoAmI> {
        Json(Caller::of(&parts).describe())
    }

    #[tool(
        description = "Sends the text back, unchanged and alone. Good for checking that calls get through.",
        annotations(title = "Echo", read_only_hint = true, open_world_hint = false)
    )]
    async fn echo(&self, Parameters(EchoArguments { text }): Parameters<EchoArguments>) -> String {
        text
    }

    #[tool(
        description = "Lists your notes, oldest first, with their numbers. Other users' notes are never shown.",
        annotations(title = "List notes", read_only_hint = true, open_world_hint = false)
    )]
    async fn list_notes(&self, Extension(parts): Extension<Parts>) -> Json<NoteList> {
        Json(NoteList {
            notes: self.notes.list(&Caller::of(&parts).owner()),
        })
    }

    #[tool(
        description = "Reads one of your notes by its number.",
        annotations(title = "Read a note", read_only_hint = true, open_world_hint = false)
    )]
    async fn read_note(
        &self,
        Extension(parts): Extension<Parts>,
        Parameters(NoteNumber { id }): Parameters<NoteNumber>,
    ) -> Result<Json<Note>, String> {
        let note = self.notes.read(&Caller::of(&parts).owner(), id);
        note.map(Json).map_err(|error| error.to_string())
    }

    #[tool(
        description = "Keeps a text as a new note of yours and answers with its number. Notes live in memory: a restart of the server forgets them.",
        annotations(
            title = "Add a note",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    async fn add_note(
        &self,
        Extension(parts): Extension<Parts>,
        Parameters(NoteText { text }): Parameters<NoteText>,
    ) -> Result<Json<Note>, String> {
        let note = self.notes.add(&Caller::of(&parts).owner(), text);
        note.map(Json).map_err(|error| error.to_string())
    }

    #[tool(
        description = "Deletes one of your notes by its number. This cannot be undone.",
        annotations(
            title = "Delete a note",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn delete_note(
        &self,
        Extension(parts): Extension<Parts>,
        Parameters(NoteNumber { id }): Parameters<NoteNumber>,
    ) -> Result<String, String> {
        let deleted = self.notes.delete(&Caller::of(&parts).owner(), id);
        deleted
            .map(|()| format!("Deleted note {id}."))
            .map_err(|error| error.to_string())
    }
}

#[tool_handler(
    name = "doorward-demo",
    instructions = "A demo server behind Doorward. whoami tells who is signed in, echo sends a text back, and the note tools keep short texts per user until the server restarts."
)]
impl ServerHandler for DemoTools {}
