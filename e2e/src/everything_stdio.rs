//! The everything-server over stdio: what `doorward serve -- everything-stdio` starts in tests.

#[tokio::main]
async fn main() -> std::io::Result<()> {
    doorward_testkit::everything::serve::stdio().await?;
    // A read of stdin that is still under way must not keep the process.
    std::process::exit(0)
}
