"""The promises under real faults: `python -m tests.faults`, in Jepsen's shape.

A generator sends tasks, a nemesis breaks one thing at a time, clients write down what they would show and the tasks
themselves what truly happened; a checker compares the two. It ends with 1 when a promise was missed or not measured.
"""
