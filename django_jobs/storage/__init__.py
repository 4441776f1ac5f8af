"""The durable queue: the only room with SQL, and the only writer of run states.

Every change of a run's state is one statement, or one transaction that locks first, and names the
state it starts from. What a worker writes late about a run that it lost therefore changes nothing.
"""
