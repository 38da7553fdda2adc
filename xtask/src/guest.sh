#!/bin/bash
# What the guest does once systemd has started it: the units as they are shipped, then the tests of a whole host. Its
# console is read by `cargo xtask guest`: a line that begins with FAULT is one.
exec > /dev/ttyS0 2>&1
fault() { echo "FAULT $*"; }

echo "guest: Linux $(uname -r), $(stat -fc %T /sys/fs/cgroup): $(cat /sys/fs/cgroup/cgroup.controllers); $(cat /sys/kernel/security/lsm)"
for module in /skynet/*.ko; do insmod "$module" || fault "$module cannot be loaded"; done
printf '127.0.0.1 localhost\n::1 localhost\n' > /etc/hosts
useradd --system --user-group --create-home skynet
for user in skynet-test skynet-other; do useradd --create-home --groups skynet "$user"; done

echo "guest: units"
systemd-analyze verify --man=no /usr/lib/systemd/system/skynet*.service /usr/lib/systemd/system/skynet.socket || fault "the units are wrong"
systemctl start skynet.socket skynetd || fault "the units do not start"
as_user() { runuser -u skynet-test -- env HOME=/home/skynet-test "$@"; }
as_user mkdir /home/skynet-test/project
call() { as_user skynetctl tools call "$1" "$2" --workspace /home/skynet-test/project; }
call exec_run '{"command":["id","-un"]}' | grep -q skynet-test || fault "no command runs"
job=$(call exec_start_job '{"script":"while :; do date > alive; sleep 0.2; done"}' | grep -o '[0-9a-f]\{8\}' | head -1)
systemctl restart skynet-sandbox || fault "the broker does not start again beside a job"
until call exec_list_jobs '{}' > /dev/null 2>&1; do sleep 0.2; done
call exec_list_jobs '{}' | grep -q running || fault "the job is gone"
call exec_signal_job "{\"job\":\"$job\",\"signal\":\"KILL\"}" > /dev/null || fault "the job cannot be ended"
systemctl stop skynet.socket skynetd skynet-sandbox
[ -e /run/skynet/skynet.sock ] && fault "the sockets stay"
systemctl --failed --no-legend | grep skynet && fault "a unit failed"
systemd-analyze security --no-pager skynetd | tail -1

echo "guest: tests"
cd / || exit
SKYNET_HOST_USERS=skynet,skynet-test,skynet-other SKYNET_BIN_DIR=/usr/lib/skynet /skynet/e2e host:: || fault "tests of a whole host"
runuser -u skynet-test -- env -i HOME=/home/skynet-test USER=skynet-test LOGNAME=skynet-test PATH=/usr/bin:/bin \
    SKYNET_BIN_DIR=/usr/lib/skynet /skynet/e2e escapes:: network:: sandbox::a_command_says sandbox::a_command_beside || fault "tests of one user"
echo "guest: done"
poweroff -f
