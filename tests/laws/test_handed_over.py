"""What passes between the process that serves and those that write arrives as it was."""

from hypothesis import given
from hypothesis import strategies as st

from collector.domain.deliveries import Report
from collector.domain.identities import LEAD, USER, NewIdentity
from collector.domain.merging import Claim
from collector.domain.submissions import AttributeChange, Event, Outcome, Submission
from collector.values.errors import Reason
from collector.writer_process import Answer, Group, decode_answer, decode_group, encode

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
times = st.integers(0, 2**42)
keys = st.tuples(st.sampled_from([LEAD, USER]), texts)
values = st.dictionaries(
    texts, texts | st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-(2**63), 2**64 - 1), max_size=3
)
submissions = st.builds(
    Submission,
    owner=keys,
    lead=st.none() | st.builds(NewIdentity, key=keys, secret_hash=st.binary(min_size=32, max_size=32)),
    verified=st.booleans(),
    internal=st.booleans(),
    create=st.booleans(),
    client=st.none() | texts,
    events=st.lists(
        st.builds(
            Event,
            id=st.binary(min_size=16, max_size=16),
            name=texts,
            at=times,
            visit=st.none() | st.binary(min_size=16, max_size=16),
            page=st.none() | texts,
            metadata=st.none() | texts,
            repeat=st.booleans(),
        ),
        max_size=3,
    ),
    changes=st.lists(st.builds(AttributeChange, values=values, at=times), max_size=2),
    reports=st.lists(
        st.builds(Report, message=texts, nonce=texts, action=texts, at=times, link=st.none() | texts, answer=st.none() | texts | times),
        max_size=2,
    ),
)


@given(st.lists(st.lists(submissions, max_size=2), max_size=3), st.integers(0, 10_000))
def test_what_is_handed_over_arrives_as_it_was(payloads: list[list[Submission]], left: int) -> None:
    group = Group(7, left, payloads)
    assert decode_group(encode(group)) == group


def test_every_outcome_comes_back_as_it_was() -> None:
    outcomes = [
        [Outcome(made=2, person=5, contact_id="c", events=[True, False, Reason.TOO_OLD], reports=[Reason.ANSWER_INVALID, True])],
        [Outcome(error=reason) for reason in Reason],
        [Outcome(claim=claim, outdated=[1], protected=[(0, "name", Reason.NAME_LIMIT)]) for claim in Claim],
    ]
    answer = Answer(outcomes)
    assert decode_answer(encode(answer)) == answer
