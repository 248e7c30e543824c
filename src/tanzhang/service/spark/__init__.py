"""Settlement on Apache Spark: the same decision, records and roots as in one process, computed on many machines.

::

    settle.py    the driver: the order of stages, and the one commit
    tasks.py     what runs on the executors, between two shuffles
    stages.py    what the driver asks of a cluster, and nothing more
    session.py   Spark as such a cluster; the only file that imports pyspark

docs/spark.md says how to run it, docs/adr/0015-spark.md why it is so.
"""
