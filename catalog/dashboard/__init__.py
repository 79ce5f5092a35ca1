"""What the dashboard tells, read from rows and put into words; nothing here writes.

running    the jobs that are active: how fast they are, how long they will take, why they wait
calls      what was spent and what will be, of the quota
health     what is alive and what is not, and when it was last seen
troubles   what is not as it should be, and what to do about it
"""
