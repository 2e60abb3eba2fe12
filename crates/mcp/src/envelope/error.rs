//! Why a body is no message.

/// Why a body was refused. Positions are byte offsets into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The body is empty.
    #[error("the body is empty: send one JSON-RPC message")]
    Empty,
    /// RFC 8259 §8.1 asks for UTF-8.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// RFC 8259 §8.1 forbids it, and parsers differ on it.
    #[error("the body starts with a byte order mark: leave it out")]
    ByteOrderMark,
    /// It is not JSON.
    #[error("not JSON at byte {at}")]
    Syntax {
        /// Where.
        at: usize,
    },
    /// Something follows the message.
    #[error("more than one JSON value: something follows at byte {at}")]
    TrailingBytes {
        /// Where.
        at: usize,
    },
    /// An object has a key twice: RFC 8259 §4 leaves open which one counts.
    #[error("an object has the same key twice, before byte {at}")]
    DuplicateKey {
        /// Just after the second one.
        at: usize,
    },
    /// Arrays and objects are nested too deeply.
    #[error("nested too deeply at byte {at}: 127 levels are accepted")]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// A number is longer than any that means something, or overflows.
    #[error("a number at byte {at} is too long or too large")]
    NumberTooLong {
        /// Where.
        at: usize,
    },
    /// An object has too many members.
    #[error("an object has too many members: 4096 are accepted")]
    TooManyMembers,
    /// An array of messages.
    #[error("batches are not accepted: send each JSON-RPC message in its own request")]
    Batch,
    /// Some other value than an object.
    #[error("a JSON-RPC message is an object")]
    NotAnObject,
    /// A member of the envelope that JSON-RPC does not define, for example `Method`.
    #[error(
        "the message has a member that JSON-RPC does not define, before byte {at} (keys are case-sensitive)"
    )]
    UnknownMember {
        /// Just after its key.
        at: usize,
    },
    /// A member of `params` that a case-blind parser would take for another.
    #[error(
        "params has a key that differs only by case from one the protocol defines, or is not ASCII, before byte {at}"
    )]
    AmbiguousKey {
        /// Just after the key.
        at: usize,
    },
    /// `jsonrpc` is not `"2.0"`.
    #[error("`jsonrpc` must be \"2.0\"")]
    NotVersion2,
    /// `id` is not a string or an integer, or too long.
    #[error("`id` must be a string (of 256 bytes at most) or an integer")]
    BadId,
    /// `method` is not a string.
    #[error("`method` must be a string")]
    BadMethod,
    /// `params` or `params._meta` is not an object.
    #[error("`params` and `params._meta` must be objects")]
    BadParams,
    /// It is neither a request, nor a notification, nor a response.
    #[error("neither a request, nor a notification, nor a response")]
    NoKind,
}

impl EnvelopeError {
    /// The JSON-RPC code: -32700 for what is not one JSON text, -32600 for what is no valid message.
    #[must_use]
    pub const fn code(&self) -> i32 {
        match self {
            Self::Empty
            | Self::NotUtf8
            | Self::ByteOrderMark
            | Self::Syntax { .. }
            | Self::TrailingBytes { .. } => -32700,
            _ => -32600,
        }
    }

    /// A stable word for logs and for `data.reason` of the answer.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "body_empty",
            Self::NotUtf8 => "body_not_utf8",
            Self::ByteOrderMark => "body_byte_order_mark",
            Self::Syntax { .. } => "body_not_json",
            Self::TrailingBytes { .. } => "body_trailing_bytes",
            Self::DuplicateKey { .. } => "body_duplicate_key",
            Self::TooDeep { .. } => "body_too_deep",
            Self::NumberTooLong { .. } => "body_number_too_long",
            Self::TooManyMembers => "body_too_many_members",
            Self::Batch => "body_batch",
            Self::NotAnObject => "body_not_an_object",
            Self::UnknownMember { .. } => "body_unknown_member",
            Self::AmbiguousKey { .. } => "body_ambiguous_key",
            Self::NotVersion2 => "body_not_json_rpc_2",
            Self::BadId => "body_bad_id",
            Self::BadMethod => "body_bad_method",
            Self::BadParams => "body_bad_params",
            Self::NoKind => "body_no_message",
        }
    }
}
