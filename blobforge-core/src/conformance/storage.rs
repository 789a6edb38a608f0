//! What every [`Storage`] has to do, one case for each behaviour.
//!
//! [`storage_conformance!`](crate::storage_conformance) makes a test of each, so that one failure hides no other.

// Each case is named for the behaviour it protects; the name is its documentation.
#![allow(missing_docs)]

pub mod cancelling;
pub mod claiming;
pub mod deleting;
pub mod failures;
pub mod files;
pub mod finishing;
pub mod garbage;
pub mod idempotency;
pub mod labels;
pub mod leases;
pub mod limits;
pub mod outbox;
pub mod reading;
pub mod repeating;
pub mod retention;
pub mod submitting;
pub mod types;
pub mod workers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    Checkpoint, Clock, Failure, FailureGroupId, Jitter, Job, JobId, JobType, LeaseSecret, ManualClock,
    NewJob, Output, Refused, Registration, RetryPolicy, Sha256, Status, Timestamp, TypeSettings, WorkerId,
    storage::{
        Beat, BeatReply, Claim, Claimed, Command, Committed, Done, HeldLease, JobFilter, LeaseState,
        LeftBytes, MAX_PAGE, Maintain, Maintained, MarkGarbage, MarkedGarbage, Outcome, Refusal, Report,
        Storage, Submit, Submitted,
    },
};

/// Makes a `#[tokio::test]` of every case.
///
/// `$make` names an async function that takes an `Arc<ManualClock>` and gives an `Arc<dyn Storage>` that uses it, empty,
/// and whatever has to live as long. The calling crate needs tokio with its `macros` and `rt`.
///
/// ```
/// use std::sync::Arc;
/// use blobforge_core::{ManualClock, storage::{Storage, memory::MemoryStorage}};
///
/// async fn memory(clock: Arc<ManualClock>) -> (Arc<dyn Storage>, ()) {
///     (Arc::new(MemoryStorage::new(clock)), ())
/// }
///
/// mod in_memory {
///     blobforge_core::storage_conformance!(super::memory);
/// }
/// ```
#[macro_export]
macro_rules! storage_conformance {
    ($make:path) => {
        $crate::storage_conformance! { @cases $make;
            cancelling: {
                a_waiting_job_is_cancelled_at_once,
                a_running_job_is_cancelled_when_its_holder_lets_go,
                a_failure_after_a_cancel_ends_as_cancelled,
                a_completion_that_comes_first_beats_a_cancel,
                a_silent_holders_job_is_cancelled_at_once,
                a_cancelled_job_ends_when_its_holder_falls_silent,
                an_ended_job_cannot_be_cancelled,
                a_retry_starts_over_but_counts_claims_on,
                a_retry_of_a_job_without_its_source_waits_for_it_again,
                what_has_not_failed_cannot_be_retried,
            }
            claiming: {
                a_job_is_submitted_claimed_and_completed,
                the_more_urgent_then_the_earlier_then_the_lower_number_goes_first_across_types,
                a_claim_takes_as_many_as_it_has_secrets,
                a_claim_takes_only_types_it_names,
                nothing_to_do_is_an_empty_answer,
                a_scheduled_job_waits_for_its_time,
                a_time_in_the_past_means_now,
                a_clock_set_back_makes_a_job_wait_again,
                a_claim_puts_away_so_many_jobs_that_are_not_due_and_the_next_one_goes_on,
                a_long_line_is_worked_off_in_order_whoever_comes_meanwhile,
                a_job_far_back_in_its_line_can_leave_it,
                reprioritising_moves_a_job_in_line,
                a_scheduled_job_keeps_its_time_when_reprioritised,
                a_running_job_takes_its_new_priority_back_into_the_line,
                an_ended_job_keeps_its_priority,
                an_unknown_worker_gets_nothing,
                a_draining_worker_gets_nothing_new,
            }
            deleting: {
                an_ended_job_is_deleted_with_all_that_is_known_of_it,
                a_job_that_has_not_ended_is_not_deleted,
                listeners_hear_of_a_deletion,
                the_number_of_a_deleted_job_is_not_given_again,
                the_work_of_a_deleted_job_is_new_work,
                the_content_of_a_deleted_job_is_sent_again,
                a_job_that_shares_a_source_keeps_it_known,
                other_jobs_are_left_alone,
            }
            files: {
                outputs_need_files_that_were_asked_for,
                a_checkpoint_needs_its_file,
                an_upload_under_a_lost_lease_is_refused,
                checkpoints_go_to_the_next_attempt_and_end_with_the_job,
                a_job_has_so_many_checkpoints_and_no_more,
                a_failed_job_keeps_its_checkpoints,
                a_checkpoint_of_the_same_name_replaces_the_earlier_one,
                a_source_makes_its_job_claimable,
                that_a_source_arrived_can_be_said_again,
                a_source_may_lie_where_whoever_sent_it_asked_for_a_place,
                where_a_source_has_arrived_nothing_is_written_again,
                a_source_unlike_its_announcement_fails_the_job,
                a_rejected_source_fails_the_job,
                an_upload_that_never_comes_is_given_up,
                a_source_that_its_holder_verified_is_not_sent_again,
                a_source_that_its_holder_finds_to_be_another_one_fails_the_job,
                a_source_found_corrupt_is_sent_again,
                a_source_shared_and_found_corrupt_is_sent_to_another_place,
            }
            labels: {
                a_job_goes_only_to_a_worker_that_meets_what_it_requires,
                a_worker_with_labels_takes_jobs_that_ask_for_nothing_too,
                what_is_asked_in_another_order_is_the_same_class,
                labels_that_change_count_from_the_next_claim,
                one_class_too_many_is_refused_until_one_is_free,
                a_job_that_not_every_worker_can_take_wakes_all_who_wait,
                a_retry_keeps_what_its_job_requires,
                labels_that_change_within_a_batch_count_at_once,
                a_worker_that_can_do_more_than_before_is_woken,
                a_worker_that_was_removed_and_comes_back_is_woken,
            }
            limits: {
                a_type_runs_no_more_than_its_limit,
                a_silent_holder_makes_room,
                a_key_runs_no_more_than_its_limit,
                what_runs_of_a_key_counts_though_nothing_of_it_waited,
                room_for_a_key_is_for_all_its_classes,
                starts_are_spread_over_time,
                starts_of_a_key_are_spread_over_time,
                keys_take_turns,
                a_key_that_comes_late_waits_one_round,
                a_key_keeps_its_turn_when_its_only_job_gets_another_priority,
                urgency_goes_before_turns,
                who_makes_room_wakes_those_who_wait,
                a_limit_that_was_lifted_lets_everything_start,
                a_job_keeps_the_key_it_was_submitted_under,
                a_cancelled_job_leaves_its_lane,
                keys_without_jobs_leave_nothing_behind,
                room_that_one_limit_makes_is_taken_once_the_other_has_some_too,
                keys_take_turns_whatever_their_jobs_require,
                keys_take_turns_though_each_is_alone_in_its_class,
                a_key_with_jobs_of_two_classes_works_them_off_in_order,
                a_key_waits_for_its_turn_since_its_first_job_whatever_that_required,
                a_clock_set_back_delays_nobody_whom_limits_hold_back,
                a_time_that_moves_within_a_batch_moved_for_all_of_it,
            }
            outbox: {
                every_way_to_end_is_put_into_the_outbox,
                the_same_report_again_is_not_told_again,
                a_second_end_is_told_again,
                what_has_not_ended_is_told_to_nobody,
                a_subscriber_hears_of_its_type_and_its_ends_alone,
                a_job_names_its_own_recipients,
                a_second_submitters_recipient_is_added,
                a_job_that_is_deleted_is_still_told,
                what_was_taken_out_is_held_and_due_again_after_that,
                who_took_a_message_out_before_cannot_put_it_off,
                a_try_that_was_none_does_not_count,
                a_message_is_told_again_under_its_number,
                what_is_for_nobody_any_more_is_dropped,
                numbers_of_messages_are_not_given_again,
                a_clock_set_back_does_not_hold_messages_back,
                what_nobody_takes_out_for_a_week_is_dropped,
                there_are_so_many_subscribers_and_no_more,
            }
            types: {
                a_paused_type_gives_nothing_until_it_is_resumed,
                settings_are_kept_and_read_back,
                a_change_of_a_type_leaves_what_it_does_not_name,
                a_type_sets_the_attempts_and_the_backoff_of_its_jobs,
                a_type_sets_the_lease_and_the_progress_its_workers_owe,
                one_claim_in_twenty_takes_the_oldest,
                the_oldest_is_found_among_all_keys,
                one_claim_in_twenty_is_one_for_all_classes_together,
                the_share_of_the_oldest_can_be_switched_off,
                the_oldest_share_reaches_every_type_a_worker_serves,
                what_is_urgent_goes_first_however_many_types_there_are,
                with_k_older_ones_a_job_is_claimed_within_twenty_times_k_plus_one,
            }
            finishing: {
                a_failure_is_retried_after_its_delay,
                failures_used_up_fail_the_job,
                a_permanent_failure_is_not_retried,
                a_completion_clears_the_last_error,
                the_same_report_again_gets_the_same_answer,
                another_report_of_an_ended_attempt_is_refused,
                a_repeated_report_changes_nothing_when_the_job_has_gone_on,
                a_release_costs_nothing_and_keeps_the_place_in_line,
                a_snooze_costs_nothing_and_waits,
                every_attempt_is_remembered,
                the_last_two_hundred_attempts_are_remembered,
            }
            garbage: {
                a_dead_file_is_kept_for_its_time_and_no_longer,
                the_files_of_a_job_are_kept_with_it,
                what_an_attempt_left_without_being_accepted_dies,
                what_a_silent_worker_wrote_is_kept_while_it_may_come_back,
                a_replaced_checkpoint_dies_and_the_new_one_does_not,
                a_failed_job_keeps_its_files_until_it_is_deleted,
                a_cancelled_job_keeps_its_source_and_not_its_checkpoints,
                a_shared_source_dies_with_the_last_job_that_has_it,
                an_output_that_is_another_jobs_source_outlives_its_job,
                a_source_that_no_job_took_dies_after_a_day,
                a_source_that_a_job_took_in_time_lives,
                an_upload_that_was_given_up_dies_and_a_retry_revives_it,
                what_was_sent_in_vain_dies_and_what_was_taken_stays,
                a_source_that_is_being_deleted_is_sent_again_under_another_key,
                a_deletion_that_broke_off_is_named_again,
                only_what_was_marked_is_forgotten,
                a_key_that_is_being_deleted_is_given_to_nobody,
                another_jobs_file_is_nobodys_output,
                a_dry_run_names_the_same_and_changes_nothing,
                no_more_is_marked_than_was_asked_for,
            }
            leases: {
                a_heartbeat_renews_only_the_leases_it_names,
                a_heartbeat_tells_held_from_lost_from_called_off,
                progress_is_kept_with_the_attempt_and_begins_anew_with_the_next,
                what_a_handler_said_is_read_while_it_runs_and_kept_if_it_is_lost,
                an_expired_lease_is_good_until_somebody_looks,
                a_lapsed_lease_is_revived_by_its_holder,
                a_lapsed_job_goes_to_the_next_claimer,
                every_late_report_is_refused_and_changes_nothing,
                a_forged_lease_is_refused,
                the_last_allowed_loss_buries_the_job,
                a_checkpoint_sets_the_losses_back,
                a_crash_is_a_loss_with_its_evidence,
                the_same_checkpoint_again_advances_nothing,
                no_lease_lapses_within_its_time_of_the_store_being_away,
                what_expires_while_the_store_is_slow_does_not_lapse,
                a_job_whose_holder_is_silent_is_free_wherever_the_clock_was_set,
                maintenance_does_no_more_than_its_limit,
            }
            reading: {
                what_waits_for_longest_and_who_runs_how_much_is_told,
                a_batch_tells_which_attempts_it_began_and_ended,
                pages_lead_through_all_jobs_newest_first,
                each_filter_restricts,
                a_text_is_found_whether_or_not_the_store_was_kept_up,
                a_filter_with_nothing_in_it_restricts_nothing,
                jobs_are_found_by_how_the_hash_of_their_source_begins,
                what_is_not_there_is_nothing,
                counts_follow_every_change,
                what_ended_in_each_hour_is_known_for_two_days,
                what_is_left_and_what_was_done_is_known_by_its_bytes,
                a_job_in_line_knows_how_many_stand_before_it,
                records_are_kept_by_collection_and_key,
                records_are_written_with_a_command_or_not_at_all,
                a_log_keeps_its_last_entries_and_is_read_from_its_end,
                a_refused_command_changes_nothing_and_its_neighbours_commit,
                commands_see_what_earlier_ones_of_their_batch_did,
                an_empty_batch_is_nothing,
                events_tell_what_happened,
                hints_tell_what_became_ready_and_when_something_falls_due,
                what_was_submitted_is_read_back_whole,
            }
            retention: {
                ended_jobs_are_kept_for_ever_unless_said_otherwise,
                a_clock_set_back_keeps_jobs_for_longer_and_not_for_ever,
                a_job_is_deleted_when_its_time_is_over_and_no_earlier,
                each_way_to_end_has_its_own_time,
                a_retry_starts_the_time_anew,
                a_new_retention_applies_to_jobs_that_ended_before,
                a_longer_retention_or_none_spares_jobs_that_ended_before,
                a_deleted_jobs_time_is_forgotten,
            }
            submitting: {
                numbers_grow,
                the_same_work_of_the_same_submitter_is_one_job,
                the_order_of_parameters_means_nothing,
                other_parameters_or_another_type_make_other_work,
                what_another_submitter_claims_is_not_believed,
                verified_content_is_matched_for_anybody,
                a_mere_claim_does_not_stand_in_for_verified_content,
                without_dedup_every_submission_is_a_job,
                the_content_of_a_job_without_dedup_is_used_again,
                a_duplicate_is_handed_over_whatever_its_state,
                a_failed_duplicate_whose_source_never_came_says_where_to_send_it,
                content_that_a_worker_verified_is_matched_for_anybody,
                what_was_found_corrupt_is_its_submitters_work_alone,
                a_second_submitters_tags_and_path_are_added,
                a_duplicate_keeps_its_place_in_line,
                a_job_keeps_no_more_tags_and_paths_than_it_may_have,
                the_first_path_is_the_first_that_anybody_says,
                a_replay_adds_nothing,
                a_failed_duplicate_runs_again_only_on_request,
                a_duplicate_that_waits_for_its_source_says_where_to_send_it,
                stored_content_is_not_sent_again,
                a_stored_source_needs_a_file_that_was_asked_for,
                what_ended_elsewhere_is_taken_in_as_it_is,
                what_was_to_be_done_elsewhere_stands_where_it_stood,
                a_job_without_a_source_is_never_a_duplicate,
            }
            failures: {
                failures_that_say_the_same_are_one_group,
                a_failure_that_is_retried_counts_no_job,
                a_retried_or_deleted_job_leaves_its_group,
                losses_are_failures_of_one_group,
                a_loss_says_how_its_worker_was_lost,
                a_source_that_is_rejected_fails_a_job_but_no_attempt,
                what_is_called_off_has_not_failed,
                groups_are_each_types_own_and_the_worst_comes_first,
                groups_too_many_are_one,
                a_group_without_jobs_makes_room_for_a_new_one,
                an_attempt_keeps_its_host_and_the_end_of_its_log,
            }
            idempotency: {
                the_same_submission_under_the_same_key_is_one_job,
                another_job_under_the_same_key_is_refused,
                keys_are_each_submitters_own,
                a_key_holds_within_one_batch,
                a_replay_says_where_the_job_is_today,
                a_replay_retries_nothing,
                a_stored_file_is_known_by_its_content,
                a_refused_submission_uses_no_key,
                a_duplicate_is_remembered_under_the_key_too,
                a_replay_of_a_deleted_job_says_so,
                a_key_is_known_for_seven_days,
                a_clock_set_back_keeps_a_key_for_longer,
                maintenance_forgets_expired_keys_step_by_step,
            }
            repeating: {
                a_repeated_claim_gets_the_same_leases_renewed,
                another_name_or_worker_takes_more,
                a_repeated_claim_gets_what_is_left_of_it,
                a_claim_that_got_nothing_takes_what_came_since,
                a_repeated_claim_revives_what_nobody_took_and_leaves_what_somebody_did,
                a_draining_worker_can_repeat_a_claim,
            }
            workers: {
                a_worker_registers_and_is_read_back_without_its_secret,
                an_id_in_use_is_refused_until_its_holder_is_silent,
                an_heir_takes_over_and_frees_the_old_leases,
                registering_again_keeps_what_was_set,
                unregistering_gives_back_what_is_held,
                another_process_cannot_unregister,
                a_removed_worker_loses_what_it_holds,
                an_unknown_worker_cannot_be_drained_or_removed,
                a_heartbeat_of_an_unknown_worker_is_refused,
                a_heartbeat_is_a_sign_of_life_and_hears_of_draining,
                how_a_worker_said_it_is_stays_until_it_says_otherwise_or_registers_anew,
                workers_are_listed_by_id,
                a_worker_that_nobody_hears_of_for_a_month_is_forgotten,
            }
        }
    };
    (@cases $make:path; $($group:ident: { $($case:ident,)* })*) => {
        $($(
            #[tokio::test]
            async fn $case() {
                let clock = $crate::conformance::storage::clock();
                let (storage, _guard) = $make(clock.clone()).await;
                let bench = $crate::conformance::storage::Bench::new(storage, clock);
                $crate::conformance::storage::$group::$case(&bench).await;
                bench.audit().await;
            }
        )*)*
    };
}

/// The clock that a case begins with.
///
/// As in [`Bench`].
pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(1_772_366_400_000)))
}

/// A lease time that tests need not think about.
const LEASE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A store under test, and shorthands for what is done to it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::conformance::storage::{Bench, claiming, clock};
/// use blobforge_core::storage::{Storage, memory::MemoryStorage};
/// use std::sync::Arc;
/// let clock = clock();
/// let storage = Arc::new(MemoryStorage::new(clock.clone()));
/// let bench = Bench::new(storage.clone(), clock);
/// claiming::a_job_is_submitted_claimed_and_completed(&bench).await;
/// bench.audit().await;
/// assert!(storage.counts().await.unwrap().total() > 0, "it was done on this store");
/// # });
/// ```
#[derive(Debug)]
pub struct Bench {
    storage: Arc<dyn Storage>,
    clock: Arc<ManualClock>,
    began: Timestamp,
    secrets: AtomicU64,
}

impl Bench {
    /// Puts an empty store and its clock on the bench.
    ///
    /// As in [`Bench`].
    pub fn new(storage: Arc<dyn Storage>, clock: Arc<ManualClock>) -> Self {
        let began = clock.now();
        Self { storage, clock, began, secrets: AtomicU64::new(0) }
    }

    /// Checks what must be true after every case: that the counts are what counting gives, of groups of failures too.
    ///
    /// As in [`Bench`].
    ///
    /// # Panics
    /// When they are not: the case, or the store, has miscounted.
    pub async fn audit(&self) {
        let mut counted: BTreeMap<(JobType, Status), u64> = BTreeMap::new();
        let mut left: BTreeMap<JobType, LeftBytes> = BTreeMap::new();
        for job in self.list(JobFilter::all(100)).await {
            *counted.entry((job.job_type.clone(), job.status())).or_default() += 1;
            let bytes = job.source.as_ref().and_then(|source| source.size).unwrap_or(0);
            match job.status() {
                Status::Pending => left.entry(job.job_type).or_default().pending += bytes,
                Status::Running => left.entry(job.job_type).or_default().running += bytes,
                _ => {}
            }
        }
        assert_eq!(self.storage.counts().await.unwrap().0, counted, "the counts are what counting gives");
        assert_eq!(self.storage.workload().await.unwrap().left, left, "and so are the bytes");
        let failed = JobFilter { status: Some(Status::Failed), ..JobFilter::all(MAX_PAGE) };
        let mut in_groups: BTreeMap<FailureGroupId, u64> = BTreeMap::new();
        for job in self.list(failed).await {
            *in_groups.entry(job.failure_group.expect("what is failed is in a group")).or_default() += 1;
        }
        let groups = self.storage.failure_groups(None, MAX_PAGE).await.unwrap();
        let told = groups.iter().filter(|group| group.jobs > 0).map(|group| (group.id, group.jobs));
        let found = in_groups.into_iter().filter(|(id, _)| groups.iter().any(|group| group.id == *id));
        assert_eq!(told.collect::<BTreeMap<_, _>>(), found.collect(), "and so are those of groups");
    }

    async fn commit(&self, commands: Vec<Command>) -> Committed {
        let wanted = commands.len();
        let committed = self.storage.commit(commands).await.unwrap();
        assert_eq!(committed.outcomes.len(), wanted, "there is one outcome for each command");
        committed
    }

    async fn run(&self, command: Command) -> Outcome {
        self.commit(vec![command]).await.outcomes.pop().unwrap()
    }

    async fn refused(&self, command: Command) -> Refusal {
        self.run(command).await.expect_err("the command is refused")
    }

    async fn job(&self, id: JobId) -> Job {
        self.storage.job(id).await.unwrap().expect("the job is there")
    }

    /// All jobs that match, page after page.
    async fn list(&self, mut filter: JobFilter) -> Vec<Job> {
        let mut all = Vec::new();
        loop {
            let page = self.storage.jobs(&filter).await.unwrap();
            all.extend(page.items);
            if page.next.is_none() {
                return all;
            }
            filter = filter.from_place(page.next);
        }
    }

    fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }

    // Submitting.

    async fn submit(&self, job: NewJob) -> Submitted {
        match self.run(submit(job)).await {
            Ok(Done::Submitted(submitted)) => submitted,
            other => panic!("not submitted: {other:?}"),
        }
    }

    /// Submits a job of type `pdf` without a source.
    async fn pending(&self) -> JobId {
        self.submit(new("pdf")).await.id
    }

    // Working.

    /// Registers a worker that offers these labels.
    async fn worker_with(&self, id: &str, labels: serde_json::Value) -> WorkerId {
        let mut registration = registration(id, "first", None);
        registration.labels = labels.as_object().unwrap().clone();
        let registration = Box::new(registration);
        assert_eq!(self.run(Command::Register { registration, alive_for: LEASE }).await, Ok(Done::Ok));
        WorkerId::new(id).unwrap()
    }

    /// Sets what holds for type `pdf`.
    async fn set(&self, settings: TypeSettings) {
        let command = Command::SetType { job_type: pdf(), settings: Box::new(settings) };
        assert_eq!(self.run(command).await, Ok(Done::Ok));
    }

    /// Claims up to `wanted` jobs of type `pdf` one after another, and tells which they were.
    async fn claim_each(&self, worker: &WorkerId, wanted: usize) -> Vec<JobId> {
        let mut ids = Vec::new();
        for _ in 0..wanted {
            ids.extend(self.try_claim(worker).await.map(|claimed| claimed.job.id));
        }
        ids
    }

    /// Claims and completes up to `wanted` jobs of type `pdf` one after another, and tells which they were.
    async fn work_off(&self, worker: &WorkerId, wanted: usize) -> Vec<JobId> {
        let mut ids = Vec::new();
        for _ in 0..wanted {
            if let Some(claimed) = self.try_claim(worker).await {
                self.finish(&claimed, complete()).await;
                ids.push(claimed.job.id);
            }
        }
        ids
    }

    async fn worker(&self, id: &str) -> WorkerId {
        let done = self.run(register(id, "first", None)).await;
        assert_eq!(done, Ok(Done::Ok));
        WorkerId::new(id).unwrap()
    }

    fn secret(&self) -> LeaseSecret {
        let mut bytes = [0; 32];
        let number = self.secrets.fetch_add(1, Ordering::Relaxed);
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        LeaseSecret::from_bytes(bytes)
    }

    fn claim_command(&self, worker: &WorkerId, types: &[&str], wanted: usize) -> Command {
        Command::Claim(Claim {
            worker: worker.clone(),
            types: types.iter().map(|name| JobType::new(*name).unwrap()).collect(),
            secrets: (0..wanted).map(|_| self.secret()).collect(),
            lease: LEASE,
            claim_id: None,
        })
    }

    async fn claims(&self, worker: &WorkerId, types: &[&str], wanted: usize) -> Vec<Claimed> {
        match self.run(self.claim_command(worker, types, wanted)).await {
            Ok(Done::Claimed(claimed)) => claimed,
            other => panic!("no answer to a claim: {other:?}"),
        }
    }

    /// Claims one job of type `pdf`, if there is one.
    async fn try_claim(&self, worker: &WorkerId) -> Option<Claimed> {
        self.claims(worker, &["pdf"], 1).await.pop()
    }

    async fn claim(&self, worker: &WorkerId) -> Claimed {
        self.try_claim(worker).await.expect("there is something to do")
    }

    /// Has a new worker take a new job.
    async fn running(&self, worker: &str) -> (WorkerId, Claimed) {
        let worker = self.worker(worker).await;
        self.pending().await;
        let claimed = self.claim(&worker).await;
        (worker, claimed)
    }

    /// Has some worker take the next job of type `pdf` and complete it.
    async fn complete_next(&self) {
        let worker = self.worker("completer").await;
        let held = self.claim(&worker).await;
        self.finish(&held, complete()).await;
    }

    async fn delete(&self, id: JobId) {
        assert_eq!(self.run(Command::Delete(id)).await, Ok(Done::Ok));
    }

    async fn beat(&self, worker: &WorkerId, held: &[&Claimed]) -> BeatReply {
        match self.run(beat(worker, held)).await {
            Ok(Done::Beat(reply)) => reply,
            other => panic!("no answer to a heartbeat: {other:?}"),
        }
    }

    async fn beat_state(&self, worker: &WorkerId, held: &Claimed) -> LeaseState {
        self.beat(worker, &[held]).await.leases[0].1
    }

    async fn report(&self, held: &Claimed, what: Report) -> Outcome {
        self.run(report(held, what)).await
    }

    async fn finish(&self, held: &Claimed, what: Report) -> crate::Finished {
        match self.report(held, what).await {
            Ok(Done::Finished(finished)) => finished,
            other => panic!("the report was not accepted: {other:?}"),
        }
    }

    // Time.

    /// Has the store do what nobody waits for, to the end.
    async fn keep_up(&self) {
        while self.storage.upkeep().await.unwrap() {}
    }

    async fn maintain(&self) -> Maintained {
        self.maintain_since(self.began - LEASE * 1000).await
    }

    async fn maintain_since(&self, available_since: Timestamp) -> Maintained {
        let upload_limit = Duration::from_secs(24 * 60 * 60);
        let asked_at = self.clock.now();
        self.maintain_with(Maintain { asked_at, available_since, upload_limit, limit: 100 }).await
    }

    async fn maintain_with(&self, maintain: Maintain) -> Maintained {
        match self.run(Command::Maintain(maintain)).await {
            Ok(Done::Maintained(maintained)) => maintained,
            other => panic!("no answer to maintenance: {other:?}"),
        }
    }

    /// Lets every lease expire that is not renewed, and has that noticed.
    async fn silence(&self) {
        self.advance(LEASE + SECOND);
        self.maintain().await;
    }

    // Files.

    /// What says that a job's source has arrived where it was to be sent.
    async fn source_ready(&self, job: JobId, size: u64, sha256: Option<Sha256>) -> Command {
        let key = self.job(job).await.source.unwrap().key;
        Command::SourceReady { job, key, size, sha256 }
    }

    /// Asks for a file and saves it as a checkpoint.
    async fn save(&self, held: &Claimed, name: &str, hash: u8) -> Outcome {
        let key = format!("checkpoints/{}/{name}-{hash}", held.job.id);
        self.reserve(&key, None).await.unwrap();
        self.run(checkpoint(held, name, hash, &key)).await
    }

    async fn reserve(&self, key: &str, owner: Option<&Claimed>) -> Outcome {
        let owner = owner.map(|held| (held.job.id, held.token));
        self.run(Command::ReserveFile { key: key.to_owned(), owner }).await
    }
}

fn new(job_type: &str) -> NewJob {
    NewJob::new(job_type).unwrap()
}

fn pdf() -> JobType {
    JobType::new("pdf").unwrap()
}

/// A job of type `pdf` of this submitter.
fn of(submitter: &str) -> NewJob {
    let mut job = new("pdf");
    job.body.submitter = Some(submitter.to_owned());
    job
}

/// A job of type `pdf` that requires this.
fn requiring(requirement: &str) -> NewJob {
    new("pdf").requires(requirement.parse().unwrap())
}

fn submit(job: NewJob) -> Command {
    submit_to(job, "sources/upload")
}

fn submit_to(job: NewJob, upload_key: &str) -> Command {
    Command::Submit(Box::new(Submit { job, upload_key: upload_key.to_owned(), default_max_attempts: 3 }))
}

fn hash(number: u8) -> Sha256 {
    Sha256::from_bytes([number; 32])
}

fn registration(id: &str, instance: &str, previous: Option<&str>) -> Registration {
    Registration {
        id: WorkerId::new(id).unwrap(),
        types: vec![JobType::new("pdf").unwrap()],
        name: None,
        instance: instance.to_owned(),
        previous_instance: previous.map(str::to_owned),
        labels: serde_json::Map::new(),
        host: Some("forge-1".to_owned()),
        metadata: serde_json::Map::new(),
    }
}

fn register(id: &str, instance: &str, previous: Option<&str>) -> Command {
    let registration = Box::new(registration(id, instance, previous));
    Command::Register { registration, alive_for: LEASE }
}

fn beat(worker: &WorkerId, held: &[&Claimed]) -> Command {
    let lease = |held: &&Claimed| HeldLease {
        job: held.job.id,
        token: held.token,
        progress: None,
        log_tail: None,
        ahead: None,
    };
    Command::Heartbeat(Beat {
        worker: worker.clone(),
        leases: held.iter().map(lease).collect(),
        condition: None,
    })
}

fn report(held: &Claimed, report: Report) -> Command {
    Command::Report { job: held.job.id, token: held.token, report: Box::new(report) }
}

fn checkpoint(held: &Claimed, name: &str, number: u8, key: &str) -> Command {
    let checkpoint = Checkpoint { name: name.to_owned(), size: 7, sha256: hash(number), key: key.to_owned() };
    Command::Checkpoint { job: held.job.id, token: held.token, checkpoint }
}

fn complete() -> Report {
    Report::Complete { outputs: Vec::new(), result: None }
}

fn completed_with(outputs: Vec<Output>) -> Report {
    Report::Complete { outputs, result: None }
}

fn output(name: &str, key: &str) -> Output {
    Output { name: name.to_owned(), size: 9, sha256: None, key: key.to_owned() }
}

/// A failure that may be retried, at first after a second.
fn fail() -> Report {
    failed(true)
}

fn crash(message: &str) -> Report {
    Report::Crash {
        failure: Failure::new("host_oom", message),
        policy: RetryPolicy { first: SECOND, longest: LEASE },
        jitter: Jitter::NONE,
    }
}

fn failed(retryable: bool) -> Report {
    Report::Fail {
        failure: Failure::new("encrypted", "a password is needed"),
        retryable,
        policy: RetryPolicy { first: SECOND, longest: LEASE },
        jitter: Jitter::NONE,
    }
}

fn is_lost(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Refusal::Lifecycle(Refused::LeaseLost { .. })))
}

fn is_wrong_state(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Refusal::Lifecycle(Refused::WrongState { .. })))
}
