mod authorize;
mod contended;
mod flow;
mod forms;
mod harness;
mod surface;
mod token;
