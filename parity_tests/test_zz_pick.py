import json, pytest
from parity_tests import faults
from parity_tests.conftest import *
from pyspark.errors.exceptions.base import StreamingQueryException
from streaming.sink import Sink
def row(user, at, arrival, **k):
    return json.dumps({"user_id":user,"action":"view_item","product_id":"p","event_time":at,"arrival_time":arrival,**k}).encode()
@pytest.mark.parametrize("order",[0,1])
def test_pick(spark,new_repo,monkeypatch,order):
    repo=new_repo()
    at="2026-03-01T23:00:00Z"
    fill=lambda n,k:[row("bob",f"2026-03-01T1{k}:00:{i:02d}Z","2026-03-01T23:40:00Z") for i in range(n)]
    a=[row("ann",at,"2026-03-01T23:50:00Z"),*fill(20,0)]
    b=[*fill(50,1),row("ann",at,"2026-03-02T00:10:00Z")]
    faults.post(repo,a); faults.post(repo,b)
    with monkeypatch.context() as m:
        faults.crash(m,Sink,"serve",after=True)
        with pytest.raises(StreamingQueryException): drain(spark,repo,files_per_batch=2)
    spark.conf.set("spark.sql.files.maxPartitionBytes", "1000" if order else "128m")
    spark.conf.set("spark.sql.files.openCostInBytes", "1" if order else "4m")
    drain(spark,repo,files_per_batch=2)
    print(repo.storage(SOURCE).entries())
    f=repo.store.get_online_features(["user_activity:actions_5min"],[{"user_id":"ann","event_timestamp":at}]).to_dict()
    print(f)
    assert f["actions_5min"]==[1]
