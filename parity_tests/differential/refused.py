"""What stock Feast refuses, and with which error or HTTP status; a case that is not here is answered."""

REQUESTS: dict[str, list[str]] = {
    "AssertionError": ["features_as_text"],
    "FeatureNameCollisionError": ["one_feature_twice", "clash_of_names"],
    "FeatureViewNotFoundException": ["unknown_view"],
    "FeatureViewVersionNotFound": ["version_unknown"],
    "IndexError": ["no_rows"],
    "KeyError": ["missing_key", "unknown_feature", "no_keys", "no_columns", "request_data_and_the_key"],
    "RequestDataNotFoundInEntityRowsException": ["on_demand_without_request_data"],
    "ValueError": [
        "rows_of_unlike_keys",
        "rows_that_lack_a_key",
        "columns_of_unequal_length",
        "text_for_a_number",
        "feature_without_view",
        "no_features",
    ],
}
"""Of the requests of `online`, which refuses them alike when they are awaited."""
OTHERS: dict[str, list[str]] = {
    "AssertionError": ["write of_another_type"],
    "AttributeError": ["training instants_as_integers", "training query"],
    "EntityTimestampInferenceException": ["training no_time_column"],
    "FeatureNameCollisionError": [
        "online aliases_without_full_names",
        "training aliases_without_full_names",
        "training clash_of_names",
    ],
    "FeatureServiceNotFoundException": ["online unknown_service"],
    "FeatureViewNotFoundException": ["training unknown_view", "write appended_to_nobody", "write materialised_nobody"],
    "FeatureViewVersionNotFound": ["training version_unknown", "write materialised_version"],
    "IbisInputError": ["training label_named_like_a_feature"],
    "IbisTypeError": ["training missing_key", "training text_for_a_number", "training alias_without_its_key"],
    "KeyError": ["training unknown_feature", "write without_a_feature", "write without_the_time", "write unknown_view"],
    "NotImplementedError": ["online documents", "online documents_v2", "training to_sql"],
    "PushSourceNotFoundException": ["write pushed_to_nobody"],
    "RequestDataNotFoundInEntityDfException": ["training on_demand_without_request_data"],
    "SavedDatasetLocationAlreadyExists": ["training dataset_not_overwritten"],
    "SavedDatasetNotFound": ["training dataset_unknown"],
    "TypeError": [
        "online plain_and_aliased",
        "training span_without_entity_df",
        "training start_without_entity_df",
        "training no_entity_df",
        "training plain_and_aliased",
    ],
    "ValueError": [
        "training no_features",
        "training entity_df_and_span",
        "write without_the_key",
        "write null_key",
        "write missing_instant",
        "write appended_without_a_column",
        "write appended_as_it_is",
        "write materialised_without_entities",
        "write materialised_backwards",
        "catalogue a_view_switched_off",
    ],
}
HTTP: dict[str, list[str]] = {
    "404": [
        "read version_unknown",
        "read unknown_view",
        "read unknown_service",
        "read without_request_data",
        "write unknown_view",
        "materialize unknown_view",
    ],
    "422": ["read no_json", "push to_nobody"],
    "500": [
        "read unknown_feature",
        "read missing_key",
        "read unequal_lengths",
        "read clash_of_names",
        "read no_keys",
        "push nowhere",
        "write another_type",
        "materialize no_time",
        "search",
    ],
}
REMOTE: dict[str, list[str]] = {
    "TypeError": ["protobuf_values", "list_of_protobuf_values", "numpy_keys_in_rows", "instant_after_the_value"],
    "ValueError": ["as_a_frame"],
    "NotImplementedError": ["together_in_one_loop"],
}
"""Of the cases of `online` that are answered in the process: what JSON cannot hold, and what the client cannot do."""
REFUSED: dict[str, str] = {
    **{f"{way} {name}": error for error, names in REQUESTS.items() for name in names for way in ("online", "async")},
    **{name: error for error, names in OTHERS.items() for name in names},
    **{f"remote online {name}": error for error, names in REMOTE.items() for name in names},
    **{f"http {name}": status for status, names in HTTP.items() for name in names},
}
