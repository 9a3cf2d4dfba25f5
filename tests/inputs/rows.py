"""The 76 rows of bad input, and where each is tested. A row without a test of its number stands here with its reason.

R: refused by the API server with advice. I: accepted by it, then Accepted=False or Ready=False with a reason and
advice, and no write to what runs. S: survived, and converges. Tests of a row are named by its number
(`test_row_07_...`, `[row-07]`); `test_rows.py` holds that together they are exactly these 76.
"""

ROWS = {
    1: "R spec missing, {}, null sub-object", 2: "I/S image empty, blank, newline, too long",
    3: "R image without tag or :latest when policy says pinned", 4: "R/S replicas -1, 0, 1.5, '3', 1e9",
    5: "R service ../x, uppercase, 64 characters, ns/name", 6: "R any namespace inside a reference",
    7: "R probe path with host, //, no /, CRLF, backslash, @, NUL", 8: "R probe port 0, 65536, -1, over-long name",
    9: "R timeout, interval, threshold 0, negative, huge; timeout > interval", 10: "R retention -1h, 24x, > 30 d",
    11: "R 1,000 gates; duplicate names", 12: "R gate with two kinds, or none", 13: "R unknown or misspelt field",
    14: "change of Services after accept", 15: "I/R env name A=B, 10k env, 1.4 MiB", 16: "R name too long for its hash",
    17: "S status preset by somebody else", 18: "R/S RTL, zero-width, emoji, NUL in free text",
    19: "S hostPath, hostNetwork, privileged, SYS_ADMIN", 20: "I serviceAccountName of a stronger account",
    21: "S priority class, control-plane toleration", 22: "R reserved labels and annotations", 23: "S 300 KiB spec",
    24: "S stored object of an older CRD", 25: "I Service missing", 26: "I Service without selector, ExternalName",
    27: "I Service of another release", 28: "I Service of Argo, Flagger, Helm hook", 29: "S first release",
    30: "I same-named Deployment not ours", 31: "I Deployment of a former release, without our label",
    32: "S green image = blue image", 33: "I ResourceQuota on create", 34: "I/S webhook denies or mutates the template",
    35: "S pod security denies pods", 36: "S ImagePullBackOff", 37: "S CrashLoopBackOff after first Ready",
    38: "S readiness flapping", 39: "S Ready pods, 0 endpoints", 40: "S unschedulable; missing ConfigMap, Secret",
    41: "S HPA scales green; user scales blue to 0", 42: "S selector edited mid-release",
    43: "S green, blue or Service deleted mid-release", 44: "S Service recreated without our label",
    45: "S spec A, B, A within 1 s", 46: "S new image while verifying the previous",
    47: "S deleted during switch; recreated at once", 48: "S namespace Terminating", 49: "S blue dead; both dead",
    50: "S operator down 25 h", 51: "S probe hangs; endless body; gzip bomb; header bomb", 52: "S probe redirected",
    53: "I pod on hostNetwork as probe target", 54: "R name as port or host",
    55: "S 200 with error body; invalid JSON; wrong charset", 56: "S self-signed or expired TLS",
    57: "S Prometheus NaN, Inf, empty", 58: "R label injection", 59: "S Slack 429, 500, timeout",
    60: "S {x}, %s, {{ }} in text", 61: "S kill -9 after each write", 62: "S delayed switch or delete after restart",
    63: "S every write answered 409 once; 504 though applied", 64: "S 429 with Retry-After; 503", 65: "S watch errors",
    66: "S events dropped, doubled, reordered", 67: "S list one minute old", 68: "S two operators",
    69: "S right revoked; token expired", 70: "S finalizer stripped", 71: "S clock -24 h, +24 h, DST, leap day",
    72: "S many releases at start; a poisoned one beside good ones", 73: "S CRD removed and re-applied",
    74: "S secret in env", 75: "S URL with user:pass in an exception", 76: "S newline, ANSI in text",
}  # fmt: skip

NOT_APPLICABLE = {
    3: "the template is exactly what a Deployment takes; a cluster that asks for pinned images does so by admission (row 34)",
    14: "the Services of a component may change: added ones are adopted, those taken out are left as with Keep",
}

E2E = "tests/e2e"
ELSEWHERE = {
    59: [
        "tests/unit/cluster/test_notifier.py::test_what_fails_is_tried_again_and_lost_never",
        "tests/unit/cluster/test_notifier.py::test_a_receiver_that_asks_for_time_gets_it",
        "tests/notifications/test_notifications.py::test_hung_receivers_delay_no_release_and_are_told_all_after_a_restart",
    ],
    2: [f"{E2E}/test_candidate.py::test_an_image_name_that_cannot_be_is_given_up_at_once"],
    17: ["tests/crd/test_accepted.py::test_a_status_that_the_author_writes_is_dropped"],
    31: [f"{E2E}/test_lifecycle.py::test_a_release_created_again_under_its_name_takes_over_what_keep_left"],
    36: [f"{E2E}/test_candidate.py::test_what_may_cure_itself_is_shown_within_seconds_and_given_up_when_it_stays"],
    37: [
        f"{E2E}/test_candidate.py::test_a_crash_loop_is_given_up_fast_with_the_containers_words",
        f"{E2E}/test_watch.py::test_a_crash_in_the_watch_rolls_back_and_green_goes_to_zero_5_s_after_blue_is_read_back",
    ],
    39: [f"{E2E}/test_candidate.py::test_ready_pods_behind_a_port_name_that_does_not_match_never_get_traffic"],
    40: [f"{E2E}/test_candidate.py::test_what_may_cure_itself_is_shown_within_seconds_and_given_up_when_it_stays"],
    42: [
        f"{E2E}/test_repair.py::test_a_selector_edited_by_hand_is_put_back",
        f"{E2E}/test_repair.py::test_a_forced_apply_that_drops_our_key_is_put_back",
    ],
    43: [
        f"{E2E}/test_repair.py::test_a_deleted_candidate_is_restored_and_verified_anew",
        f"{E2E}/test_repair.py::test_a_deleted_live_deployment_goes_back_to_blue_where_blue_serves_before_it_does",
        f"{E2E}/test_repair.py::test_a_candidate_whose_service_is_deleted_waits_for_it",
    ],
    44: [f"{E2E}/test_repair.py::test_a_deleted_service_stalls_and_points_at_live_soon_after_it_returns"],
    45: [
        f"{E2E}/test_candidate.py::test_there_and_back_within_a_second_leaves_the_live_version_as_it_was",
        f"{E2E}/test_candidate.py::test_there_and_back_while_a_candidate_verifies_begins_it_anew_and_it_goes_live",
        f"{E2E}/test_candidate.py::test_there_and_back_in_the_watch_lets_the_watch_go_on",
    ],
    46: [f"{E2E}/test_candidate.py::test_a_new_spec_supersedes_the_candidate_at_once"],
    47: [
        f"{E2E}/test_lifecycle.py::test_deletion_with_keep_leaves_traffic_and_what_served",
        f"{E2E}/test_lifecycle.py::test_a_release_created_again_with_another_version_begins_from_what_serves",
    ],
    49: [
        f"{E2E}/test_watch.py::test_blue_with_1_of_3_pods_takes_over_from_a_green_without_any",
        f"{E2E}/test_watch.py::test_where_blue_fails_the_same_probe_nothing_moves_until_a_person_orders_it",
    ],
    57: [
        f"{E2E}/test_checks.py::test_what_is_no_number_neither_passes_nor_fails",
        "tests/unit/cluster/test_measure_prometheus.py::test_what_is_not_one_finite_number_is_inconclusive",
    ],
    58: ["tests/crd/test_refused.py::test_a_release_is_refused_with_advice"],
    71: ["tests/unit/test_clock.py::test_a_clock_that_was_set_back_is_followed"],
    73: [f"{E2E}/test_uninstall.py::test_deleted_crds_leave_traffic_as_it_is_and_installed_again_all_goes_on"],
}  # fmt: skip

BY_FAULTS = {
    61: ["kill-before", "kill-after"], 62: ["held"], 63: ["conflict", "lost-reply"], 64: ["too-many", "errors"],
    65: ["watch-500", "watch-410", "half-line", "silent", "restless"], 66: ["dropped", "doubled", "delayed", "swapped"],
    67: ["stale-start"], 69: ["rights-revoked", "token-expired"], 71: ["clock-ahead", "clock-behind"], 72: ["poisoned"],
    73: ["crds-removed"],
}  # fmt: skip
"""Rows that fault runs try (tests/faults), by the names of the faults."""
