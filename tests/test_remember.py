import threading

import pytest

from jmpc.remember import Remembered


def test_what_was_not_used_for_longest_goes_first():
    table = Remembered(2)
    table.put("a", 1)
    table.put("b", 2)
    assert table.get("a") == 1
    table.put("c", 3)
    assert "b" not in table and table.get("b") is None
    assert (table.get("a"), table.get("c"), len(table)) == (1, 3, 2)


def test_weights_count_together_and_the_latest_always_fits():
    table = Remembered(10, heaviest=100)
    table.put("a", 1, 60)
    table.put("b", 2, 40)
    assert len(table) == 2 and table.weight == 100
    table.put("c", 3, 1)
    assert "a" not in table and table.weight == 41
    table.put("d", 4, 1000)
    assert len(table) == 1 and table.get("d") == 4 and table.weight == 1000


def test_an_entry_may_be_replaced_and_dropped():
    table = Remembered(2, heaviest=100)
    table.put("a", 1, 90)
    table.put("a", 2, 30)
    assert table.get("a") == 2 and table.weight == 30
    table.drop("a")
    table.drop("a")
    assert len(table) == table.weight == 0


def test_it_may_be_used_from_many_threads():
    table = Remembered(8, heaviest=50)
    wrong = []

    def use(number):
        for step in range(2000):
            key = (number * step) % 20
            table.put(key, key, 10)
            if table.get(key) not in (None, key):
                wrong.append(key)
            if step % 7 == 0:
                table.drop(key)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(table) <= 5 and table.weight == 10 * len(table)


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_than_so_many_are_kept(most):
    table = Remembered(most)
    for number in range(10):
        table.put(number, number)
    assert len(table) == most and table.get(9) == 9
