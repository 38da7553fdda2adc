#!/bin/bash
# What the guest does once systemd has started it: the package as it is shipped, then the tests of a whole host. Its
# console is read by `cargo xtask guest`: a line that begins with FAULT is one.
exec > /dev/ttyS0 2>&1
fault() { echo "FAULT $*"; }

echo "guest: Linux $(uname -r), $(stat -fc %T /sys/fs/cgroup): $(cat /sys/fs/cgroup/cgroup.controllers); $(cat /sys/kernel/security/lsm)"
for module in /skynet/*.ko; do insmod "$module" || fault "$module cannot be loaded"; done
printf '127.0.0.1 localhost\n::1 localhost\n' > /etc/hosts
cd / || exit
package=$(echo /skynet/package/*.deb)

echo "guest: the package, from its installation to the last file of it that goes"
SKYNET_MACHINE=this SKYNET_PACKAGE=$package SKYNET_BIN_DIR=/skynet/programs /skynet/e2e host::shipped || fault "the package"
dpkg --purge skynet > /dev/null

echo "guest: units beside a job"
dpkg --install "$package" > /dev/null || fault "the package cannot be installed"
for user in skynet-test skynet-other; do useradd --create-home --groups skynet "$user"; done
as_user() { runuser -u skynet-test -- env HOME=/home/skynet-test "$@"; }
as_user mkdir /home/skynet-test/project
call() { as_user skynetctl tools call "$1" "$2" --workspace /home/skynet-test/project; }
ran=$(call exec_run '{"command":["id","-un"]}' 2>&1)
case $ran in *skynet-test*) ;; *) fault "no command runs: $ran" ;; esac
job=$(call exec_start_job '{"script":"while :; do date > alive; sleep 0.2; done"}' | grep -o '[0-9a-f]\{8\}' | head -1)
systemctl restart skynet-sandbox || fault "the broker does not start again beside a job"
until call exec_list_jobs '{}' > /dev/null 2>&1; do sleep 0.2; done
call exec_list_jobs '{}' | grep -q running || fault "the job is gone"
call exec_signal_job "{\"job\":\"$job\",\"signal\":\"KILL\"}" > /dev/null || fault "the job cannot be ended"
systemctl stop skynet.socket skynetd skynet-sandbox
[ -e /run/skynet/skynet.sock ] && fault "the sockets stay"
systemctl --failed --no-legend | grep skynet && fault "a unit failed"

echo "guest: tests"
SKYNET_HOST_USERS=skynet,skynet-test,skynet-other SKYNET_BIN_DIR=/skynet/programs /skynet/e2e host:: --skip host::shipped || fault "tests of a whole host"
runuser -u skynet-test -- env -i HOME=/home/skynet-test USER=skynet-test LOGNAME=skynet-test PATH=/usr/bin:/bin \
    SKYNET_BIN_DIR=/skynet/programs /skynet/e2e escapes:: network:: sandbox::a_command_says sandbox::a_command_beside || fault "tests of one user"
echo "guest: done"
poweroff -f
