//! Where tokens of others are found that stand for a user or a workload: a file, a variable, the output of a program.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use doorward_client::grant::AssertionSource;
use doorward_client::provider::ProviderError;
use doorward_types::secret::Secret;
use tokio::io::AsyncReadExt as _;

/// The longest token that is read, in bytes.
pub const MAX_ASSERTION: u64 = 64 * 1024;
/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file that the platform writes, and replaces while we run: read anew for every use.
#[derive(Clone, Debug)]
pub struct FileAssertion(pub PathBuf);

#[async_trait]
impl AssertionSource for FileAssertion {
    async fn assertion(&self) -> Result<Secret, ProviderError> {
        let unreadable = |why: &str| ProviderError(format!("{} cannot be read: {why}", self.0.display()));
        let file = tokio::fs::File::open(&self.0)
            .await
            .map_err(|error| unreadable(&error.to_string()))?;
        let mut text = String::new();
        let read = file.take(MAX_ASSERTION + 1).read_to_string(&mut text).await;
        let text = Secret::new(text);
        match read {
            Ok(length) if length as u64 <= MAX_ASSERTION => Ok(trimmed(&text)),
            Ok(_) => Err(unreadable("it is longer than 64 KiB")),
            Err(error) => Err(unreadable(&error.to_string())),
        }
    }

    fn name(&self) -> String {
        format!("the file {}", self.0.display())
    }
}

/// A variable of the environment of this process.
#[derive(Clone, Debug)]
pub struct EnvironmentAssertion(pub String);

#[async_trait]
impl AssertionSource for EnvironmentAssertion {
    async fn assertion(&self) -> Result<Secret, ProviderError> {
        match std::env::var(&self.0) {
            Ok(text) => Ok(trimmed(&Secret::new(text))),
            Err(_) => Err(ProviderError(format!(
                "there is no variable {} in the environment",
                self.0.escape_debug()
            ))),
        }
    }

    fn name(&self) -> String {
        format!("the variable {}", self.0.escape_debug())
    }
}

/// What a program writes to its standard output, run anew for every use and without a shell. Its standard error is ours.
#[derive(Clone, Debug)]
pub struct CommandAssertion {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

#[async_trait]
impl AssertionSource for CommandAssertion {
    async fn assertion(&self) -> Result<Secret, ProviderError> {
        let failed = |why: &str| ProviderError(format!("{} gave no token: {why}", self.program.display()));
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error.to_string()))?;
        let output = child.stdout.take().ok_or_else(|| failed("it has no output"))?;
        let mut text = String::new();
        let run = async {
            let read = output.take(MAX_ASSERTION + 1).read_to_string(&mut text).await;
            (read, child.wait().await)
        };
        let (read, ended) = tokio::time::timeout(PATIENCE, run)
            .await
            .map_err(|_| failed("it took longer than 30 seconds"))?;
        let text = Secret::new(text);
        let length = read.map_err(|error| failed(&error.to_string()))?;
        match ended {
            _ if length as u64 > MAX_ASSERTION => Err(failed("its output is longer than 64 KiB")),
            Ok(status) if status.success() => Ok(trimmed(&text)),
            Ok(status) => Err(failed(&format!("it ended with {status}"))),
            Err(error) => Err(failed(&error.to_string())),
        }
    }

    fn name(&self) -> String {
        format!("the program {}", self.program.display())
    }
}

/// Without the white space that editors and `echo` add.
fn trimmed(text: &Secret) -> Secret {
    Secret::new(text.expose().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn command(program: &str, arguments: &[&str]) -> Result<Secret, ProviderError> {
        let source = CommandAssertion {
            program: program.into(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        };
        source.assertion().await
    }

    #[tokio::test]
    async fn w2_a_file_is_read_anew_for_every_use() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileAssertion(folder.path().join("token"));
        assert!(
            file.assertion()
                .await
                .unwrap_err()
                .to_string()
                .contains("cannot be read")
        );
        for token in ["one", "two"] {
            std::fs::write(&file.0, format!(" {token}\n")).unwrap();
            assert_eq!(file.assertion().await.unwrap().expose(), token);
        }
        std::fs::write(&file.0, "x".repeat(70_000)).unwrap();
        let error = file.assertion().await.unwrap_err().to_string();
        assert!(error.contains("64 KiB") && !error.contains("xx"), "{error}");
    }

    #[tokio::test]
    async fn w2_a_program_writes_the_token_and_no_shell_reads_its_arguments() {
        let token = command("/bin/echo", &["a.b.c"]).await.unwrap();
        assert_eq!(token.expose(), "a.b.c");
        let token = command("/bin/echo", &["$(id); a"]).await.unwrap();
        assert_eq!(token.expose(), "$(id); a");
        assert!(
            command("/bin/false", &[])
                .await
                .unwrap_err()
                .to_string()
                .contains("ended with")
        );
        assert!(command("/nowhere/program", &[]).await.is_err());
        let many = command("/usr/bin/yes", &[]).await.unwrap_err().to_string();
        assert!(many.contains("64 KiB"), "{many}");
    }

    #[tokio::test]
    async fn w2_a_variable_is_named_in_messages_and_its_value_is_not() {
        assert_eq!(
            EnvironmentAssertion("PATH".into())
                .assertion()
                .await
                .unwrap()
                .expose(),
            std::env::var("PATH").unwrap().trim()
        );
        let error = EnvironmentAssertion("NOT_SET_ANYWHERE_7".into())
            .assertion()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("NOT_SET_ANYWHERE_7"));
    }
}
