"""Random choreographies: well-formed programs, and the same bits and messages in every mode."""

from choreography.programs_check import projected
from choreography.random_choreographies import INPUTS, cook, recipes
from hypothesis import HealthCheck, given, settings
from runtime.modes import Case, Eager, agree_in_all_modes, random_words

few = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
many = settings(few, max_examples=100)


@many
@given(recipes)
def test_programs_fit_together(recipe):
    projected(cook(recipe))


@few
@given(recipes)
def test_all_modes_give_the_same_bits(recipe):
    case = Case(cook(recipe), [random_words(i, 3) for i in range(len(INPUTS))], Eager())
    agree_in_all_modes(case)
