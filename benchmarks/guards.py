# ruff: noqa: E501 - what is put in place of a line stands in one
"""What holds each attack and fault of the threat model, and the test that shows it: read by `bench_guards.py`."""

from dataclasses import dataclass

COMMON = "libs/common/src/adsml_common"
SERVING, REGISTRY, TRAINING = (f"{COMMON}/{part}" for part in ("serving", "registry", "training"))
TESTS = "tests/libs/common"
HOSTILE, ACCESS = f"{TESTS}/serving/test_hostile.py", f"{TESTS}/serving/test_access.py"
CASE = f"{ACCESS}::test_what_is_not_allowed_is_refused_and_reaches_no_handler"
STRANGER = f"{HOSTILE}::test_what_a_stranger_sends_takes_no_memory"
LIST_MODELS = "/adsml.registry.v1.ModelRegistryService/ListModels"


@dataclass(frozen=True)
class Guard:
    """What holds an attack, how to take it out, the test that shows it and a pattern of how that fails.

    `attack` begins with its number in issue 21 (F: a fault under "Build", T: of the threat model only). `out` is
    pairs of lines of `file` (or, as triples, of another one) and what stands in their place.
    """

    attack: str
    file: str
    out: tuple[tuple[str, ...], ...]
    test: str
    fails: str


BODY_FIRST = (
    "                self._admit(method, call, context)\n",
    "                await context.read()\n                self._admit(method, call, context)\n",
)
GUARDS = (
    Guard(
        "1 a stranger's body is read before the token",
        f"{SERVING}/harness.py",
        (BODY_FIRST,),
        f"{STRANGER}[15-plain-{LIST_MODELS}]",
        r"< 100",
    ),
    Guard(
        "1 60 MiB of a stranger, and no limit of gRPC's either",
        f"{SERVING}/harness.py",
        (BODY_FIRST, (f"{SERVING}/runtime.py", "settings.max_message_bytes + _CORE_LIMIT_SPARE", "-1")),
        f"{STRANGER}[60-plain-{LIST_MODELS}]",
        r"< 100",
    ),
    Guard(
        "1 a stranger's bytes of gzip are unpacked",
        f"{SERVING}/harness.py",
        (
            BODY_FIRST,
            (f"{SERVING}/runtime.py", '_enabled_algorithms_bitset", 1)', '_enabled_algorithms_bitset", 7)'),
        ),
        f"{STRANGER}[15-gzip-{LIST_MODELS}]",
        r"< 100",
    ),
    Guard(
        "1 a caller's bytes of gzip are unpacked",
        f"{SERVING}/runtime.py",
        (('_enabled_algorithms_bitset", 1)', '_enabled_algorithms_bitset", 7)'),),
        f"{HOSTILE}::test_what_a_caller_packs_is_not_unpacked",
        "UNIMPLEMENTED",
    ),
    Guard(
        "1 health reads what anybody sends",
        f"{SERVING}/health.py",
        (("_READ_BYTES: Final = 32 * 1024 * 1024", "_READ_BYTES: Final = 0"),),
        f"{STRANGER}[15-plain-/grpc.health.v1.Health/Check]",
        r"< 160",
    ),
    Guard(
        "1 a refused message is kept by its exception",
        f"{SERVING}/transport.py",
        (("                traceback.clear_frames(", "                str("),),
        f"{HOSTILE}::test_a_message_that_was_refused_is_not_kept",
        "did not come to hold",
    ),
    Guard(
        "1 a message is kept by the thread that was at it",
        f"{SERVING}/pool.py",
        (("            del job  #", "            #"),),
        f"{HOSTILE}::test_a_message_that_was_refused_is_not_kept",
        "did not come to hold",
    ),
    Guard(
        "1 a method that nobody serves reads its message",
        f"{SERVING}/harness.py",
        (
            (
                "stream_stream_rpc_method_handler(handle)\n\n\ndef refuse_unknown",
                "unary_unary_rpc_method_handler(handle)\n\n\ndef refuse_unknown",
            ),
        ),
        f"{STRANGER}[15-plain-/no.such.Service/Method]",
        r"< 100",
    ),
    Guard(
        "1 a message longer than its method's contract",
        f"{SERVING}/transport.py",
        (("if (size := len(raw)) > largest:", "if False:"),),
        f"{TESTS}/serving/test_harness.py::test_a_request_that_is_too_long_is_told_the_limit",
        "AssertionError|page_token",
    ),
    Guard(
        "1 one caller announces messages and sends none",
        f"{SERVING}/memory_budget.py",
        (("return mine + size <= self._of_one_owner or not mine", "return True"),),
        f"{HOSTILE}::test_who_announces_messages_and_sends_none_keeps_nobody_out",
        "RESOURCE_EXHAUSTED|DEADLINE",
    ),
    Guard(
        "1 many callers announce messages",
        f"{SERVING}/memory_budget.py",
        (("room = self.used + size <= self._capacity or not self.used", "room = True"),),
        f"{HOSTILE}::test_requests_in_work_have_so_much_memory_and_no_more",
        "expected an error",
    ),
    Guard(
        "1 a message that never comes",
        f"{SERVING}/transport.py",
        (("asyncio.timeout(seconds)", "asyncio.timeout(None)"),),
        f"{HOSTILE}::test_a_message_that_does_not_come_is_not_waited_for_long",
        "INVALID_ARGUMENT",
    ),
    Guard(
        "1 connections without end",
        f"{SERVING}/runtime.py",
        (('("grpc.max_allowed_incoming_connections", settings.max_connections),', ""),),
        f"{HOSTILE}::test_there_are_so_many_connections_and_no_more",
        "closes it",
    ),
    Guard(
        "1 handshakes without end",
        f"{SERVING}/runtime.py",
        (('("grpc.server_handshake_timeout_ms", round(_HANDSHAKE_SECONDS * 1000)),', ""),),
        f"{HOSTILE}::test_who_does_not_finish_a_handshake_is_hung_up_on",
        "TimeoutError|timed out",
    ),
    Guard(
        "1 calls without end on one connection",
        f"{SERVING}/runtime.py",
        (('("grpc.max_concurrent_streams", settings.max_concurrent_streams),', ""),),
        f"{HOSTILE}::test_one_connection_has_so_many_calls_at_once_and_no_more",
        "not True|assert not",
    ),
    Guard(
        "2 a thousand watchers of one address",
        f"{SERVING}/health.py",
        ((" or self.watchers[address] >= _MAX_PEER_WATCHERS", ""),),
        f"{HOSTILE}::test_a_thousand_watchers_lock_no_new_client_out",
        "so many are let in",
    ),
    Guard(
        "2 a client that must watch",
        "libs/client/src/adsml_client/connection.py",
        (('{"serviceName": ""}} if health_checks else {})', '{"serviceName": ""}})'),),
        "tests/libs/client/test_connection.py::test_a_server_that_cannot_be_watched_is_called_all_the_same[refused]",
        "Unavailable|DeadlineExceeded",
    ),
    Guard(
        "3 a booster that XGBoost reads unchecked",
        "services/classifier/src/adsml_classifier/artifacts.py",
        (("    boosters.check(data, features=len(features.NAMES))\n", ""),),
        "tests/services/classifier/models/test_boosters.py::test_a_model_is_checked_before_xgboost_reads_it",
        "asked first",
    ),
    Guard(
        "3 one changed byte in model.ubj: SIGSEGV",
        "services/classifier/src/adsml_classifier/models/boosters.py",
        (("        _check_tree(tree, features)\n", ""),),
        "tests/services/classifier/models/test_boosters.py::test_what_passes_with_a_flipped_byte_ends_no_process",
        r"-11",
    ),
    Guard(
        "3 sizes that nothing fills: 21 GB",
        "services/classifier/src/adsml_classifier/models/boosters.py",
        (("or len(text) > 9 or int(text) > most:", "or False:"),),
        "tests/services/classifier/models/test_boosters.py::test_one_wrong_value_is_named[change-num_class]",
        "DID NOT RAISE|Regex",
    ),
    Guard(
        "3 a forest that leads its scorer astray",
        "services/anomaly/src/adsml_anomaly/artifacts.py",
        (("if not _makes_trees(", "if False and not _makes_trees("),),
        "tests/services/anomaly/test_artifacts.py::test_no_damage_leads_the_scorer_astray",
        "SIGSEGV|SIGABRT|hung|assert",
    ),
    *(
        Guard(
            f"3 {family}'s models are parsed in the service itself",
            f"services/{family}/src/adsml_{family}/server.py",
            (("vetted=True", "vetted=False"),),
            f"tests/services/test_vetting.py::test_what_is_no_model_is_found_out_in_a_child[{family}]",
            "Regex|DID NOT RAISE",
        )
        for family in ("classifier", "anomaly", "forecasting")
    ),
    Guard(
        "3 a poisoned model ends the process",
        f"{REGISTRY}/registry.py",
        (("        if parse is not None:\n            self._vetter.check(parse, version, data)\n", ""),),
        f"{TESTS}/registry/test_vetting.py::test_a_poisoned_version_is_skipped_and_the_previous_one_serves",
        "SIGSEGV",
    ),
    Guard(
        "3 a parser takes all memory",
        f"{REGISTRY}/vetting.py",
        (("            _limit()\n", ""),),
        f"{TESTS}/registry/test_vetting.py::test_what_can_not_be_parsed_is_named[allocate-takes more memory to parse than a model may]",
        "DID NOT RAISE",
    ),
    Guard(
        "3 a parser takes for ever",
        f"{REGISTRY}/vetting.py",
        (("                child.kill()\n            elif", "                pass\n            elif"),),
        f"{TESTS}/registry/test_vetting.py::test_what_can_not_be_parsed_is_named[hang-takes longer than 5 s to parse]",
        "DID NOT RAISE",
    ),
    Guard(
        "3 a parser reads the service's secrets",
        f"{REGISTRY}/vetting.py",
        (("env={**kept,", "env={**os.environ,"),),
        f"{TESTS}/registry/test_vetting.py::test_the_child_has_no_secrets_and_what_it_prints_is_no_answer",
        r"can't be parsed \(AssertionError\)",
    ),
    Guard(
        "3 no previous version serves",
        f"{REGISTRY}/loader.py",
        (
            (
                "return self._instead(name, present, active, error)",
                "return _Entry(None, error, self._clock())",
            ),
        ),
        f"{TESTS}/registry/test_vetting.py::test_a_poisoned_version_is_skipped_and_the_previous_one_serves",
        "ArtifactCorrupt",
    ),
    Guard(
        "3 verify does not load",
        f"{REGISTRY}/registry.py",
        (("self._load(version, parse_of(version))", "self._load(version, None)"),),
        f"{TESTS}/registry/test_vetting.py::test_verify_really_loads",
        r"\(2, True\)",
    ),
    Guard(
        "3 a small family's bundle unpacks to 64 MiB",
        f"{REGISTRY}/registry.py",
        (
            ("unpack(data, check=check, max_bytes=most_bytes(parse))", "unpack(data, check=check)"),
            (f"{REGISTRY}/vetting.py", "unpack(data, max_bytes=max_bytes)", "unpack(data)"),
        ),
        f"{TESTS}/registry/test_vetting.py::test_a_parser_says_how_much_its_models_may_unpack_to",
        "DID NOT RAISE|Regex",
    ),
    Guard(
        "3 a bomb that says so",
        f"{REGISTRY}/bundle.py",
        (("if sum(entry.file_size for entry in entries) > max_bytes:", "if False:"),),
        f"{TESTS}/registry/test_bundle.py::test_a_bomb_that_says_so_is_not_unpacked",
        "Regex|DID NOT RAISE",
    ),
    Guard(
        "3 a bomb that lies",
        f"{REGISTRY}/bundle.py",
        (("most = min(entry.file_size, limit) + 1", "most = 1 << 30"),),
        f"{TESTS}/registry/test_bundle.py::test_a_bomb_that_lies_about_its_size_is_cut_off",
        "< 1000000",
    ),
    Guard(
        "3 a pickle in a bundle",
        f"{REGISTRY}/bundle.py",
        (("if path.suffix.lower() in _PICKLES:", "if False:"),),
        f"{TESTS}/registry/test_bundle.py::test_odd_bundles_are_refused[entries20-pickle]",
        "DID NOT RAISE",
    ),
    Guard(
        "3 a bundle that no trainer signed",
        f"{REGISTRY}/signatures.py",
        (("if not self.trusted:", "if True:"),),
        f"{TESTS}/registry/test_signatures.py::test_what_nobody_or_a_stranger_signed_is_not",
        "DID NOT RAISE",
    ),
    Guard(
        "3 a signature of another model",
        f"{REGISTRY}/signatures.py",
        (("_CONTEXT + name.encode() +", "_CONTEXT +"),),
        f"{TESTS}/registry/test_signatures.py::test_a_signature_is_good_for_its_model_and_its_content_only",
        "DID NOT RAISE",
    ),
    Guard(
        "4 a negative seed",
        "protos/adsml/forecasting/v1/forecasting_service.proto",
        (("seed = 12 [\n    (buf.validate.field).int64.gte = 0,\n", "seed = 12 [\n"),),
        f"{TESTS}/serving/test_validation.py::test_the_seed_of_a_bootstrap_is_not_negative",
        "KeyError",
    ),
    Guard(
        "4 short rows with frequency",
        "services/impact/src/adsml_impact/analysis/metric_comparison.py",
        (("if first and had < needed:", "if False:"),),
        "tests/services/impact/analysis/test_bad_input.py::test_a_figure_that_is_known_too_short_a_time",
        "DID NOT RAISE InsufficientHistory",
    ),
    Guard(
        "4 forged page tokens",
        f"{SERVING}/paging.py",
        (("except (ValueError, InvalidTag):", "except ZeroDivisionError:"),),
        f"{TESTS}/serving/test_registry_service.py::test_a_token_that_is_not_ours_is_refused[sqlite-W10=]",
        "no BadRequest",
    ),
    Guard(
        "4 page tokens tell what others have",
        f"{SERVING}/paging.py",
        (
            (
                'self._cipher.encrypt(\n            nonce, json.dumps(position, separators=(",", ":")).encode(), _bound_to(request, context)\n        )',
                "json.dumps(position).encode()",
            ),
            (
                "self._cipher.decrypt(\n                data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound_to(request, context)\n            )",
                "data[_NONCE_BYTES:]",
            ),
        ),
        f"{TESTS}/serving/test_registry_service.py::test_a_token_tells_nothing_and_is_good_for_its_caller_only[sqlite]",
        "classifier",
    ),
    Guard(
        "4 page tokens of another caller",
        f"{SERVING}/paging.py",
        (("[context.caller.identity, request.DESCRIPTOR", '["", request.DESCRIPTOR'),),
        f"{TESTS}/serving/test_registry_service.py::test_a_token_tells_nothing_and_is_good_for_its_caller_only[sqlite]",
        "DID NOT RAISE",
    ),
    Guard(
        "4 page tokens of other filters",
        f"{SERVING}/paging.py",
        (("hashlib.sha256(filters).hexdigest()]", '""]'),),
        f"{TESTS}/serving/test_registry_service.py::test_a_token_of_other_filters_is_refused[sqlite]",
        "expected an error",
    ),
    Guard(
        "4 an exp of 10^400",
        f"{SERVING}/tokens.py",
        ((" or not abs(value) < _LAST_INSTANT", ""), ("TypeError, OverflowError, ", "TypeError, ")),
        f"{CASE}[an expiry of 10^400]",
        "UNAUTHENTICATED|INTERNAL",
    ),
    Guard(
        "4 an exp without end",
        f"{SERVING}/tokens.py",
        ((" or not abs(value) < _LAST_INSTANT", ""),),
        f"{CASE}[an expiry without end]",
        "expected an error",
    ),
    Guard(
        "5 a common name beside others",
        f"{SERVING}/tls.py",
        (
            (
                "*names.get_values_for_type(x509.DNSName))",
                "*names.get_values_for_type(x509.DNSName), leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)",
            ),
        ),
        f"{ACCESS}::test_certificates_that_do_not_do[a common name beside others]",
        "expected an error",
    ),
    Guard(
        "5 a mail address as an identity",
        f"{SERVING}/tls.py",
        (
            (
                "*names.get_values_for_type(x509.DNSName))",
                "*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.RFC822Name))",
            ),
        ),
        f"{ACCESS}::test_certificates_that_do_not_do[a mail address]",
        "expected an error",
    ),
    Guard(
        "5 two authorization headers",
        f"{SERVING}/access.py",
        (("invocation_metadata() or ()) > 1:", "invocation_metadata() or ()) > 99:"),),
        f"{CASE}[two authorization headers]",
        "expected an error",
    ),
    Guard(
        "5 an empty subject",
        f"{SERVING}/tokens.py",
        (('not 0 < len(claims["sub"].strip())', 'not 0 <= len(claims["sub"].strip())'),),
        f"{CASE}[an empty subject]",
        "expected an error",
    ),
    Guard(
        "5 a run of another's account is named",
        f"{SERVING}/training_service.py",
        (("if going_on is None or self._shows(self.runs.get(going_on), context):", "if True:"),),
        f"{TESTS}/serving/test_training_service.py::test_a_run_of_another_account_is_waited_for_and_not_named[sqlite]",
        "not in",
    ),
    Guard(
        "6 unread streams hold the threads",
        f"{SERVING}/stream_buffer.py",
        (
            (
                "                if len(self._messages) >= self._window:\n                    return False\n",
                "                while len(self._messages) >= self._window and not self._closing:\n                    threading.Event().wait(0.01)\n",
            ),
        ),
        f"{HOSTILE}::test_streams_that_nobody_reads_hold_no_thread",
        "RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED",
    ),
    Guard(
        "6 one caller's streams",
        f"{SERVING}/limits.py",
        (("if self._open[caller] >= self._of_one_caller:", "if False:"),),
        f"{HOSTILE}::test_one_caller_has_so_many_streams_and_is_told_so",
        "expected an error",
    ),
    Guard(
        "6 a queue that is first come, first served",
        f"{SERVING}/pool.py",
        (("min(ready, key=lambda share: share.virtual)", "ready[0]"),),
        f"{TESTS}/serving/test_pool.py::test_a_caller_with_one_call_does_not_stand_behind_anothers_hundred",
        "assert 100 <= 1|<= 1",
    ),
    Guard(
        "6 shares of calls, not of work",
        f"{SERVING}/pool.py",
        (
            ("best.virtual += job.seconds", "best.virtual += 1.0"),
            ("share.virtual += seconds - job.seconds", "share.virtual += 0.0"),
        ),
        f"{TESTS}/serving/test_pool.py::test_shares_are_of_work_and_not_of_calls",
        "35 <= ",
    ),
    Guard(
        "6 long work has all threads",
        f"{SERVING}/pool.py",
        (("max(1, workers - max(1, round(_SHORT_SHARE * workers)))", "workers"),),
        f"{TESTS}/serving/test_pool.py::test_long_work_never_has_all_threads",
        "TimeoutError|assert",
    ),
    Guard(
        "6 waiting places are first come, first served",
        f"{SERVING}/pool.py",
        (("(full and not self._give_place(call))", "full"),),
        f"{TESTS}/serving/test_pool.py::test_where_all_places_are_taken_who_has_most_waiting_gives_one_up",
        "Overloaded",
    ),
    Guard(
        "6 a cheap caller beside 160 ensembles",
        f"{SERVING}/pool.py",
        (("(full and not self._give_place(call))", "full"),),
        f"{HOSTILE}::test_a_cheap_caller_beside_a_greedy_one_keeps_its_calls",
        ">= 45",
    ),
    Guard(
        "7 an older migrate and a newer schema",
        f"{COMMON}/database.py",
        (("if state.status is not SchemaStatus.AHEAD:", "if True:"),),
        f"{TESTS}/test_migrations.py::test_migrating_with_an_older_release_leaves_a_newer_schema[sqlite]",
        "from_the_future",
    ),
    Guard(
        "7 a newer schema is worked with",
        f"{COMMON}/database.py",
        (("in (SchemaStatus.CURRENT, SchemaStatus.AHEAD)", "is SchemaStatus.CURRENT"),),
        f"{TESTS}/test_migrations.py::test_a_newer_schema_is_worked_with[sqlite]",
        "FailedPrecondition",
    ),
    Guard(
        "7 a schema that left this code behind",
        f"{COMMON}/database.py",
        (("SchemaStatus.AHEAD if oldest in known else SchemaStatus.TOO_NEW", "SchemaStatus.AHEAD"),),
        f"{TESTS}/test_migrations.py::test_a_schema_that_has_left_this_code_behind_is_refused_by_name[sqlite]",
        "TOO_NEW",
    ),
    *(
        Guard(
            f"7 a migration that {what} what the last release's code works with",
            f"{COMMON}/migrations/__init__.py",
            (
                (
                    '    command.upgrade(config, "head")\n',
                    f'    command.upgrade(config, "head")\n    connection.exec_driver_sql("ALTER TABLE {change}")\n',
                ),
            ),
            f"{TESTS}/test_migrations.py::test_the_code_of_one_release_back_works_with_this_schema[postgresql]",
            "assert",
        )
        for what, change in (
            ("takes away", "ml_trained_models DROP COLUMN samples_count"),
            ("demands more than", "accounts ADD COLUMN owner TEXT NOT NULL"),
        )
    ),
    Guard(
        "8 U+2028 and U+202E in logs",
        f"{SERVING}/logs.py",
        (("        record.message = printable(record.message)\n", ""),),
        f"{TESTS}/serving/test_logs.py::test_what_a_caller_wrote_is_one_line_and_turns_nothing_round[formatter0]",
        "isprintable",
    ),
    Guard(
        "8 cache files of others to read",
        f"{REGISTRY}/disk_cache.py",
        (("os.O_CREAT | os.O_RDWR, 0o600)", "os.O_CREAT | os.O_RDWR, 0o644)"),),
        f"{TESTS}/registry/test_disk_cache.py::test_it_is_the_owners_alone",
        "420",
    ),
    Guard(
        "8 '0 ms are left'",
        f"{SERVING}/budget.py",
        ((' if seconds >= 0.1 else f"{seconds * 1e3:.2g}"', ""),),
        f"{TESTS}/serving/test_budget.py::test_less_than_a_millisecond_is_not_called_none",
        "0 ms",
    ),
    Guard(
        "8 'expected 1 to 9.22337203685478e+18'",
        f"{SERVING}/contract_rules.py",
        (("_WHOLE: Final = 2**53", "_WHOLE: Final = 2**65"),),
        f"{TESTS}/serving/test_validation.py::test_what_is_wrong_is_told_with_its_place_and_what_is_expected[changed2-large-is 0; expected a whole number, 1 or more]",
        r"9\.22337203685478e\+18",
    ),
    Guard(
        "8 deadlines of 1 ms end UNAVAILABLE",
        f"{SERVING}/runtime.py",
        (('("grpc.http.overload_protection", 0),', ""),),
        f"{HOSTILE}::test_a_deadline_that_is_too_short_is_called_so",
        "UNAVAILABLE",
    ),
    Guard(
        "8 ValueError: 'ad set' is none of ...",
        "libs/client/src/adsml_client/messages.py",
        (("except (_Mistake, ValueError) as mistake:", "except ArithmeticError as mistake:"),),
        "tests/libs/client/test_messages.py::test_an_unknown_word_is_an_error_of_the_family[ad set]",
        "_Mistake: 'ad set' is none of",
    ),
    Guard(
        "8 a full artifact store is retried",
        f"{REGISTRY}/artifacts.py",
        (("if number in _LASTING:", "if False:"),),
        f"{TESTS}/registry/test_artifacts.py::test_a_store_that_is_full_is_no_matter_of_a_retry[28]",
        "Unavailable",
    ),
    *(
        Guard(
            f"F {fault} database under a server",
            f"{COMMON}/database_errors.py",
            (('return Unavailable(f"the database is unavailable: {_sqlite_words(error)}")', "return None"),),
            f"{TESTS}/serving/test_faults.py::test_what_can_not_be_written_is_unavailable_and_read_on[{fault}]",
            "INTERNAL",
        )
        for fault in ("full", "read-only")
    ),
    Guard(
        "F a cache folder without rights",
        f"{REGISTRY}/disk_cache.py",
        (("except (sqlite3.Error, OSError) as error:", "except sqlite3.Error as error:"),),
        f"{TESTS}/serving/test_faults.py::test_a_cache_folder_without_rights_keeps_no_server_from_serving",
        "PermissionError",
    ),
    Guard(
        "F a full disk under training",
        f"{TRAINING}/attempt.py",
        (("bad_data=not isinstance(error.__cause__, OSError)", "bad_data=True"),),
        f"{TESTS}/training/test_job.py::test_a_full_store_is_named_and_goes_on_once_there_is_room[sqlite]",
        "42",
    ),
    Guard(
        "F a clock that jumps under a server",
        f"{SERVING}/harness.py",
        (("clock: Callable[[], float] = time.monotonic,", "clock: Callable[[], float] = time.time,"),),
        f"{TESTS}/test_clock_jumps.py::test_a_server_answers_on_and_drains",
        "DEADLINE_EXCEEDED|did not come to hold",
    ),
    Guard(
        "F a clock that jumps under training",
        f"{TRAINING}/runs.py",
        (('if self._database.dialect == "postgresql":', "if False:"),),
        f"{TESTS}/test_clock_jumps.py::test_a_training_run_goes_on_and_does_nothing_twice[postgresql]",
        "hours=1|timedelta",
    ),
    Guard(
        "F a clock that jumps revives a token",
        f"{SERVING}/tokens.py",
        ((" and self._clock() < known[1]:", ":"),),
        f"{TESTS}/serving/test_faults.py::test_a_clock_that_jumps_ends_or_revives_no_token_for_good[3600.0]",
        "DID NOT RAISE",
    ),
    Guard(
        "F bytes flipped while serving",
        f"{REGISTRY}/loader.py",
        (
            (
                "        except (ArtifactCorrupt, Unavailable) as error:\n            self._count(failures=1)\n",
                "        except ArithmeticError as error:\n            self._count(failures=1)\n",
            ),
        ),
        f"{TESTS}/serving/test_faults.py::test_bytes_flipped_while_serving_change_no_answer",
        "ArtifactCorrupt",
    ),
    Guard(
        "F a damaged artifact",
        f"{REGISTRY}/artifacts.py",
        (("if hashlib.sha256(data).hexdigest() != sha256:", "if False:"),),
        f"{TESTS}/registry/test_artifacts.py::test_a_damaged_one_is_corrupt_and_not_cached[folder]",
        "DID NOT RAISE",
    ),
    Guard(
        "F kill -9 in StartTraining",
        f"{SERVING}/training_service.py",
        (("if run.status is RunStatus.PENDING:", "if known is None:"),),
        f"{TESTS}/serving/test_training_service.py::test_kill_9_between_record_and_launch_loses_no_run_and_starts_none_twice[sqlite]",
        "did not come to hold",
    ),
    Guard(
        "F kill -9 in a child that parses",
        f"{REGISTRY}/vetting.py",
        (("if child is None or child.poll() is not None:", "if child is None:"),),
        f"{TESTS}/registry/test_vetting.py::test_a_child_that_died_in_between_blames_nobody",
        "SIGKILL",
    ),
    Guard(
        "F kill -9 in a child that trains",
        f"{TRAINING}/workers.py",
        (
            (
                "except (EOFError, OSError):\n            worker.end()\n",
                "except ArithmeticError:\n            worker.end()\n",
            ),
        ),
        f"{TESTS}/training/test_workers.py::test_a_process_that_dies_costs_its_item_alone[sqlite-9-SIGKILL: out of memory, or killed]",
        "EOFError|ConnectionReset",
    ),
    Guard(
        "F kill -9 of the process that leads a run",
        f"{TRAINING}/workers.py",
        (("    end_with_parent()\n", ""),),
        f"{TESTS}/training/test_workers.py::test_workers_die_with_the_run_s_process",
        "did not come to hold",
    ),
    Guard(
        "F kill -9 in a training run",
        f"{TRAINING}/job.py",
        (("if item.key in statuses and not statuses[item.key].done]", "if item.key in statuses]"),),
        f"{TESTS}/training/test_killed.py::test_every_item_is_trained_once_however_often_its_process_is_killed[postgresql]",
        "assert",
    ),
    Guard(
        "F kill -9 in a registration",
        f"{REGISTRY}/registry.py",
        (
            (
                "        self._artifacts.put(key, data)\n        with self._database.write() as connection:\n            made = queries.insert_version(connection, row)\n",
                "        with self._database.write() as connection:\n            made = queries.insert_version(connection, row)\n        self._artifacts.put(key, data)\n",
            ),
        ),
        f"{TESTS}/registry/test_crash.py::test_kill_9_at_each_point[sqlite-while the artifact is written]",
        "assert",
    ),
    Guard(
        "F a request id taken by another caller",
        f"{SERVING}/training_service.py",
        (("if not (identity := context.caller.identity):", "if True:"),),
        f"{TESTS}/serving/test_training_service.py::test_the_request_id_of_another_caller_reveals_nothing_and_blocks_nobody[sqlite]",
        "AlreadyExists",
    ),
    Guard(
        "F concurrent writers: a number taken twice",
        f"{REGISTRY}/queries.py",
        (
            (
                "                    return made\n            continue\n",
                "                    return made\n            raise\n",
            ),
        ),
        f"{TESTS}/registry/test_history.py::test_every_history_is_that_of_one_registry[postgresql-None]",
        r"== \[0, 0\]|in \(0, -9\)",
    ),
    Guard(
        "F concurrent writers: two activations at once",
        f"{REGISTRY}/registry.py",
        (('self._database.lock(connection, f"model {name}")', "pass"),),
        f"{TESTS}/registry/test_crash.py::test_two_processes_racing_for_a_name[postgresql]",
        "assert",
    ),
    Guard(
        "F known flaws of the lock",
        "deploy/audit.py",
        (("        if inside:\n", "        if False:\n"),),
        "tests/deploy/test_audit.py::test_a_version_between_introduction_and_cure_is_found[1.9-True]",
        "assert 0 == 1",
    ),
    Guard(
        "T another account's entity",
        f"{SERVING}/access.py",
        (("        if foreign:\n", "        if False:\n"),),
        f"{CASE}[another account's entity]",
        "expected an error",
    ),
    Guard(
        "T a handler's exception goes to the caller",
        f"{SERVING}/errors.py",
        (
            (
                'f"internal error; the server\'s log has it as incident {incident}"',
                'f"internal error {error!r} {incident}"',
            ),
        ),
        f"{TESTS}/serving/test_errors.py::test_a_defect_of_ours_is_told_by_an_incident_id_and_nothing_else",
        "assert",
    ),
    Guard(
        "T 100,000 entries are all told of",
        f"{SERVING}/validation.py",
        (
            ("    if wrong:\n        message = _without_long_lists(message)\n", ""),
            ("        if len(by_path) >= MAX_VIOLATIONS:\n            break\n", ""),
            ("return everything[:MAX_VIOLATIONS]", "return everything"),
        ),
        f"{TESTS}/serving/test_validation.py::test_what_a_hostile_request_is_told_is_bounded",
        "<= 200",
    ),
    Guard(
        "T a key that points out of the artifact store",
        f"{REGISTRY}/artifacts.py",
        (
            ("if not _KEY.fullmatch(key) or", "if"),
            ('".." in key.split("/") or "." in key.split("/"):', "False:"),
        ),
        f"{TESTS}/registry/test_artifacts.py::test_a_key_that_points_elsewhere_is_refused",
        "DID NOT RAISE|Unavailable|assert|Error",
    ),
    Guard(
        "T a name that is markup",
        "libs/report/src/adsml_report/page.py",
        (("autoescape=True", "autoescape=False"),),
        "tests/libs/report/test_page.py",
        "'option' == 'details'",
    ),
)
