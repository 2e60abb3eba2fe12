//! Real children, started by this very executable: `main` is the launcher, the tests, and a few other processes that
//! tests need.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot set itself up must fail"
)]
#![expect(
    clippy::print_stdout,
    reason = "processes tell their parent, and a measurement its reader"
)]
#![cfg(target_os = "linux")]

mod attacks;
mod isolation;
mod refusals;
mod starting;
mod stopping;
mod support;
mod talking;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};

use crate::support::{CANARY, LOG};

/// Makes a trial of each async function.
macro_rules! trials {
    ($($module:ident { $($name:ident),* $(,)? })*) => {
        vec![$($(
            Trial::test(concat!(stringify!($module), "::", stringify!($name)), || {
                support::block_on($module::$name());
                Ok(())
            }),
        )*)*]
    };
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let mode = arguments.next().unwrap_or_default();
    if mode == doorward_process::LAUNCH {
        let error = doorward_process::launch(arguments);
        assert!(
            matches!(error, doorward_process::LaunchError::NotForPeople) || !error.to_string().is_empty()
        );
        return ExitCode::from(126);
    }
    match mode.to_str() {
        Some("__without_landlock") => support::block_on(refusals::without_landlock()),
        Some("__parent") => support::block_on(stopping::parent()),
        Some("__signals") => support::block_on(starting::signals()),
        Some("__leaver") => support::block_on(attacks::parent_of_a_leaver()),
        Some("__hidden") => support::block_on(isolation::hidden_parent()),
        _ => return run(),
    }
    ExitCode::SUCCESS
}

fn run() -> ExitCode {
    if std::env::var_os(CANARY).is_none() {
        // An environment of ours that no child may see.
        let mut again = Command::new(std::env::current_exe().unwrap());
        again
            .args(std::env::args_os().skip(1))
            .env(CANARY, support::canary_value());
        panic!("{}", again.exec());
    }
    tracing_subscriber::fmt()
        .with_writer(|| LOG)
        .with_ansi(false)
        .init();
    let trials = trials! {
        attacks {
            vt_12_limits_and_priorities_of_other_processes_are_not_a_childs_business,
            vt_12_memory_terminals_and_keys_are_not_shared,
            vt_12_no_library_is_loaded_before_the_rights_are_gone,
            vt_12_a_working_directory_that_is_exchanged_on_the_way_opens_nothing,
            vt_12_a_cover_that_fails_once_is_tried_again,
            vt_12_a_child_bears_its_mark_for_good,
            vt_12_who_leaves_the_session_at_once_is_found,
            vt_12_who_moves_on_all_the_time_is_stopped,
            vt_12_who_left_the_session_dies_with_us,
            processes_nobody_waits_for_count,
            ft_20_a_flood_of_lines_leaves_room_for_others,
        }
        isolation {
            vt_12_a_child_sees_nothing_of_ours_or_of_another_user,
            vt_12_no_descriptor_of_ours_reaches_a_child,
            vt_12_a_child_cannot_touch_the_processes_of_others,
            vt_12_links_and_other_ways_round_lead_nowhere,
            vt_12_what_lies_above_a_hidden_folder_can_be_listed,
            vt_12_without_landlock_our_memory_is_hidden_all_the_same,
            vt_12_a_child_of_root_has_no_power,
            a_child_has_its_own_folders_and_the_rest_of_the_machine,
        }
        refusals {
            vt_12_without_isolation_nothing_starts_unless_the_operator_accepts_it,
            vt_12_a_kernel_without_landlock_is_noticed,
            words_for_a_program_that_is_not_there,
            words_for_a_program_that_does_not_run,
            words_for_a_working_directory_that_is_not_there,
            words_for_what_lies_in_a_hidden_folder,
            words_for_an_own_folder_that_is_not_there,
            the_launcher_is_not_a_command_for_people,
        }
        starting {
            programs_are_found_in_the_childs_path_and_below_its_directory,
            the_environment_is_the_given_one_and_nothing_else,
            limits_and_session,
            ignored_signals_are_not_passed_on,
            a_start_that_nobody_waits_for_leaves_nothing_behind,
            what_a_start_costs,
        }
        stopping {
            a_child_that_reads_its_input_ends_with_it,
            a_child_that_ignores_the_end_of_input_gets_a_signal,
            a_child_that_ignores_everything_is_killed,
            a_child_that_ends_takes_its_processes_along,
            dropping_the_last_control_stops_the_child,
            a_child_outlives_its_supervisor,
            a_child_dies_with_us,
            too_much_memory_is_fatal,
            too_many_processes_are_fatal,
        }
        talking {
            lines_go_in_and_come_out,
            the_last_line_needs_no_newline,
            a_line_too_long_is_fatal,
            a_child_that_is_not_read_waits_alone,
            a_child_that_does_not_read_can_be_stopped,
            ft_20_a_flood_of_standard_error_stops_nobody,
        }
    };
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    if conclusion.has_failed() {
        ExitCode::from(101)
    } else {
        ExitCode::SUCCESS
    }
}
