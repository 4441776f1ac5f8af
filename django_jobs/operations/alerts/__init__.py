"""Tells people what is wrong, and when it is well again: by mail, webhook or Slack, grouped, at least once.

A message is a run of ours. What it is about is a row of `AlertState`: `state` opens and counts it, in the
transaction of what happened where that is a failed run (`failures`), or by a look at the whole every half a
minute (`watch`). `messages` puts it into words, and `channels` sends it.
"""
