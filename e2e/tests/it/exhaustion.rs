//! DS and FT: more than there is room for.
